"""`pairalign evaluate RUN --pairs SHARDS`: measure a run, print tables, write metrics.json and report.html."""

from __future__ import annotations

import argparse
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("evaluate", help="measure an aligned run on held-out pairs")
    parser.add_argument("run_folder", metavar="RUN", help="folder that `pairalign align` wrote")
    parser.add_argument("--pairs", action="append", required=True, help="shard folder with two or more modalities")
    parser.add_argument("--split", action="append", help="split of the pairs, repeatable; default: test")
    parser.add_argument("--out", help="where to write; default: RUN/evaluation")
    parser.add_argument("--class", dest="classes", action="append", help="class name for zero-shot, repeatable")
    parser.add_argument("--template", dest="templates", action="append", help="prompt with {}, repeatable")
    parser.add_argument("--known", action="append", help="class name of training, to place new ones by; repeatable")
    parser.add_argument("--same-group", action="store_true", help="also retrieve among the same object or session only")
    parser.add_argument("--limit", type=int, help="most samples of each pool")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and probe splits")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from pairalign.evaluate.run import evaluate_run

    found = evaluate_run(
        args.run_folder,
        args.pairs,
        split=args.split or "test",
        out=args.out,
        classes=args.classes,
        templates=args.templates,
        known=args.known,
        same_group=args.same_group,
        limit=args.limit,
        seed=args.seed,
        progress=not args.quiet,
    )
    print(found.table)
    print(f"report: {found.report}\nmetrics: {found.report.with_name('metrics.json')}")
    return 0
