"""`pairalign data index`: make the index of shards that webdataset or another tool wrote."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.data_facts import add_facts, read_facts, read_pair
from pairalign.cli.pipe import say
from pairalign.cli.verbs import add_verb

_TEXT = """Read every shard once and write an index beside them, or to --out where they cannot be written.
With --out, that folder is what you then give as shards."""
_EXAMPLES = (
    "pairalign data index s3://bucket/folder --rate sound=16000 --unit force=N",
    "pairalign data index 'https://host/data/train-{000000..000099}.tar' --out my_index",
)


def register(subverbs: Any) -> None:
    """Add the subverb."""
    text = "make an index of shards that webdataset wrote"
    parser = add_verb(subverbs, "data index", text, examples=_EXAMPLES, description=_TEXT)
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
    parser.set_defaults(run=run_index)


def run_index(args: argparse.Namespace) -> int:
    """Index, then print what was found."""
    from pairalign.data.indexing import describe_indexed, index_shards, trust_index

    if args.trust:
        where = trust_index(args.shards)
        record = {"index": args.shards, "trusted": where}
        answer(args, record, f"{args.shards}: its shards are read from {where} from now on")
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
    answer(args, _record(found), *describe_indexed(found), f"index: {found.path}", through=say)
    return 0


def _record(found: Any) -> dict[str, Any]:
    from pairalign.cli.data import split_sizes

    parts = {"splits": split_sizes(found.index), "samples": found.samples}
    return {
        "index": found.path,
        "modalities": found.index.modalities,
        **parts,
        "left_out": found.left_out,
        "damaged": found.bad,
    }
