"""`pairalign ablate config.yaml --without reconstruction,gates,norm --pairs SHARDS`: stage one without each term."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.align import add_config_arguments, read_config
from pairalign.cli.device import read_device


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("ablate", help="stage one without each of its terms, measured on the same pairs")
    add_config_arguments(parser)
    parser.add_argument("--without", metavar="TERMS", help="by commas; default: reconstruction,gates,norm")
    parser.add_argument("--pairs", required=True, metavar="SHARDS", help="shard folder that every arm is measured on")
    parser.add_argument("--split", default="val", help="of the pairs (val)")
    parser.add_argument(
        "--out", metavar="DIR", help="folder with a run for each arm; default: the config's OUT.ablation"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="most pairs that are measured")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and probe splits")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and measure every arm, and print the table."""
    config = read_config(args)
    read_device(args, config.train.accelerator)
    from pairalign.evaluate.ablation import WITHOUT, ablate, edge_rows
    from pairalign.evaluate.report import text_table

    terms = list(WITHOUT) if args.without is None else [term for term in args.without.split(",") if term]
    found = ablate(
        config,
        args.pairs,
        without=terms,
        split=args.split,
        out=args.out,
        limit=args.limit,
        seed=args.seed,
        progress=not args.quiet,
    )
    if not found.runs:  # another process of the run says it
        return 0
    if args.json:
        import json

        from pairalign.evaluate.report import plain

        print(json.dumps(plain(found.record), indent=2))
        return 0
    print(text_table(*edge_rows(found.record)))
    print(f"\ntable: {found.folder / 'ablation.md'}\npicture: {found.folder / 'ablation.png'}")
    return 0
