"""`pairalign data inspect SHARDS`: a contact sheet, counts, shapes, ranges."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb


def register(subverbs: Any) -> None:
    """Add the subverb."""
    examples = ("pairalign data inspect shards", "pairalign data inspect shards --split val --out val.png --json")
    text = "draw a contact sheet and print counts, shapes and ranges"
    parser = add_verb(subverbs, "data inspect", text, examples=examples)
    parser.add_argument("folder", metavar="SHARDS", help="folder that `pairalign data pack` wrote")
    parser.add_argument("--split", action="append", help="split to look at, repeatable; default: all")
    parser.add_argument("--out", default=None, help="PNG of the contact sheet; default: SHARDS/contact_sheet.png")
    parser.add_argument("--samples", type=int, default=12, metavar="N", help="pairs on the sheet (12)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of pairs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables and say where the sheet is."""
    from pairalign.data.inspect import inspect_pairs

    found = inspect_pairs(
        args.folder, splits=args.split, out=args.out, samples=args.samples, seed=args.seed, progress=not args.quiet
    )
    answer(args, {**found.record, "sheet": found.sheet}, found.text, f"contact sheet: {found.sheet}")
    return 0
