"""`pairalign ablate config.yaml --without reconstruction,gates,norm --pairs SHARDS`: stage one without each term."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.align import add_config_arguments, read_config
from pairalign.cli.answer import answer
from pairalign.cli.device import read_device
from pairalign.cli.verbs import add_verb


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = ("pairalign ablate glove.yaml --without reconstruction,gates --pairs shards --split val",)
    text = "stage one without each of its terms, measured on the same pairs"
    parser = add_verb(verbs, "ablate", text, examples=examples)
    add_config_arguments(parser)
    parser.add_argument("--without", metavar="TERMS", help="by commas; default: reconstruction,gates,norm")
    parser.add_argument("--pairs", required=True, metavar="SHARDS", help="shard folder that every arm is measured on")
    parser.add_argument("--split", default="val", help="of the pairs (val)")
    parser.add_argument(
        "--out", metavar="DIR", help="folder with a run for each arm; default: the config's OUT.ablation"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="most pairs that are measured")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and probe splits")
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
    files = f"\ntable: {found.folder / 'ablation.md'}\npicture: {found.folder / 'ablation.png'}"
    answer(args, found.record, text_table(*edge_rows(found.record)), files)
    return 0
