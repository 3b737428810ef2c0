"""`pairalign data index`: make the index of shards that webdataset or another tool wrote."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.data_facts import add_facts, read_facts, read_pair
from pairalign.cli.pipe import say

_TEXT = """Read every shard once and write an index beside them, or to --out where they cannot be written:

  pairalign data index s3://bucket/folder --rate sound=16000 --unit force=N
  pairalign data index 'https://host/data/train-{000000..000099}.tar' --out my_index

With --out, that folder is what you then give as shards."""


def register(subverbs: Any) -> None:
    """Add the subverb."""
    parser = subverbs.add_parser("index", help="make an index of shards that webdataset wrote", description=_TEXT)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("shards", help="folder, address, or shards with braces")
    parser.add_argument("--out", "-o", help="local folder for the index (beside the shards)")
    parser.add_argument(
        "--split", **many, metavar="NAME[=PATTERN]", help="split of the shards whose names match; default by name"
    )
    add_facts(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an index")
    parser.add_argument(
        "--trust", action="store_true", help="take an index that says its shards lie elsewhere for yours; read nothing"
    )
    parser.add_argument("--licence", help="recorded in the index")
    parser.add_argument("--origin", help="where the data is from, recorded in the index")
    parser.add_argument("--synthetic", action="store_true", help="the data is made, not measured")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_index)


def run_index(args: argparse.Namespace) -> int:
    """Index, then print what was found."""
    from pairalign.data.indexing import describe_indexed, index_shards, trust_index

    if args.trust:
        say(f"{args.shards}: its shards are read from {trust_index(args.shards)} from now on")
        return 0
    splits = dict(read_pair(text, "--split") if "=" in text else (text, "*") for text in args.split)
    found = index_shards(
        args.shards,
        out=args.out,
        splits=splits or None,
        units=read_facts(args),
        overwrite=args.overwrite,
        progress=not args.quiet,
        licence=args.licence,
        origin=args.origin,
        synthetic=args.synthetic,
    )
    for line in describe_indexed(found):
        say(line)
    say(f"index: {found.path}")
    return 0
