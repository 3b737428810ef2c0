"""`pairalign data pack|index|convert|inspect|audit`: bring pairs in, look at them, check them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pairalign.cli.answer import answer
from pairalign.cli.data_facts import add_facts, read_facts, read_pair
from pairalign.cli.pipe import say
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import DataError
from pairalign.core.secrets import hide

if TYPE_CHECKING:
    from pairalign.data.index import ShardIndex


def register(verbs: Any) -> None:
    """Add the verb and its subverbs."""
    from pairalign.cli import data_audit, data_convert, data_index, data_inspect

    parser = verbs.add_parser("data", help="pack, index, convert, inspect and audit pairs")
    subverbs = parser.add_subparsers(title="subverbs", metavar="SUBVERB", required=True)
    _register_pack(subverbs)
    data_index.register(subverbs)
    data_convert.register(subverbs)
    data_inspect.register(subverbs)
    data_audit.register(subverbs)


def _register_pack(subverbs: Any) -> None:
    examples = (
        "pairalign data pack manifest.jsonl shards --dry-run",
        "pairalign data pack manifest.jsonl shards --modality image --modality touch=touch_diff "
        "--column key=id --column group=object",
        "pairalign data pack rows.csv s3://bucket/shards --split train=0.9,val=0.1 --unit force=N --rate force=100",
    )
    text = "turn a manifest into shards"
    parser = add_verb(subverbs, "data pack", text, examples=examples, description=_PACK)
    parser.add_argument("manifest", help="JSON lines (.jsonl), CSV, JSON or parquet file")
    parser.add_argument("out", help="folder to write shards into, or its address in a bucket, as s3://bucket/folder")
    _source_arguments(parser)
    add_facts(parser)
    parser.add_argument("--frames", default="8", metavar="N[:WHICH]", help=_FRAMES)
    parser.add_argument("--shard-samples", type=int, default=1000, metavar="N", help="samples a shard (1000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the one-time shuffle and of shares (0)")
    parser.add_argument("--keep-order", action="store_true", help="do not shuffle")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad samples out and list them in the index")
    parser.add_argument(
        "--allow-constant",
        action="append",
        default=[],
        metavar="MODALITY",
        help="constant values are fine here",
    )
    parser.add_argument("--restart", action="store_true", help="make every shard again after an interruption")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished folder")
    parser.add_argument("--licence", help="recorded in the index")
    parser.add_argument("--origin", help="where the data is from, recorded in the index")
    parser.add_argument("--synthetic", action="store_true", help="the data is made, not measured")
    parser.add_argument("--dry-run", action="store_true", help="show what the first rows hold, and write nothing")
    parser.set_defaults(run=run_pack)


def _source_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--modality",
        **_many("NAME[.PART][=COLUMN[:path|:value|:text|:number]]"),
        help="what to pack and from which column; default those that hold files, lists of numbers or texts",
    )
    parser.add_argument("--kind", **_many("MODALITY=KIND"), help="read its column as path, text or number")
    parser.add_argument("--all-columns", action="store_true", help="also pack every column that nobody named")
    parser.add_argument("--delimiter", metavar="CHARACTER", help="of a CSV file, or the word tab (found by itself)")
    parser.add_argument("--column", **_many("ROLE=COLUMN"), help="column of key, label, group, session or split")
    parser.add_argument("--where", **_many("COLUMN=VALUE"), help="keep rows with this value; repeat for alternatives")
    parser.add_argument("--root", help="folder that paths are relative to (the manifest's)")
    parser.add_argument("--follow-links", action="store_true", help="take files that a link leads to outside the root")
    parser.add_argument("--split", help="one name for all rows, or shares such as train=0.9,val=0.1")


_FRAMES = "frames stored of a video, and which: spread, first, middle or last (8:spread)"
_PACK = """Turn a manifest into WebDataset shards with an index. An interrupted pack goes on with the same
command."""


def run_pack(args: argparse.Namespace) -> int:
    """Say how the manifest is read and what its first rows hold; pack, then print what was written."""
    from pairalign.data.manifest import Manifest
    from pairalign.data.pack import pack_pairs, preview_pairs
    from pairalign.data.preview import describe
    from pairalign.data.video import VideoFrames

    modalities = dict(read_pair(text, "--modality", default=True) for text in args.modality)
    columns = dict(read_pair(text, "--column") for text in args.column)
    manifest = Manifest(
        args.manifest,
        modalities or None,
        columns,
        args.root,
        _grouped(args.where),
        dict(read_pair(text, "--kind") for text in args.kind),
        "\t" if args.delimiter in ("tab", "\\t") else args.delimiter,
        args.all_columns,
        args.follow_links,
    )
    shared: dict[str, Any] = {
        "units": read_facts(args),
        "split": _split(args.split),
        "seed": None if args.keep_order else args.seed,
        "on_bad": "skip" if args.skip_bad else "fail",
        "allow_constant": args.allow_constant,
        "video": VideoFrames.parse(args.frames),
    }
    if args.dry_run:
        found = preview_pairs(manifest, **shared)
        record = {"preview": found.splitlines()}
        answer(args, record, f"{found}\nnothing is written: --dry-run", through=say)
        return 0
    index = pack_pairs(
        manifest,
        args.out,
        **shared,
        shard_samples=args.shard_samples,
        workers=args.workers,
        resume=not args.restart,
        overwrite=args.overwrite,
        progress=not args.quiet,
        licence=args.licence,
        origin=args.origin,
        synthetic=args.synthetic,
        say=say,
    )
    _tell_packed(args, index, describe(index, args.out))
    return 0


def _tell_packed(args: argparse.Namespace, index: ShardIndex, table: str) -> None:
    out, splits = hide(args.out), split_sizes(index)
    lines = [f"\npacked:\n{table}"]
    for name, one in splits.items():
        lines.append(f"{name:<12}{one['samples']:>9} samples{one['shards']:>6} shards{one['bytes'] / 2**20:>10.1f} MiB")
    if index.skipped:
        lines.append(f"{len(index.skipped)} bad samples were left out:")
    for key, reason in index.skipped:
        lines.append(f"skipped {key if key.isprintable() else repr(key)}: {reason}")
    lines.append(f"shards: {out}\nnext: pairalign data audit {out}")
    record = {"shards": out, "modalities": index.modalities, "splits": splits, "skipped": index.skipped}
    answer(args, record, *lines, through=say)


def split_sizes(index: ShardIndex) -> dict[str, dict[str, int]]:
    """Samples, shards and bytes of every split."""
    return {
        name: {"samples": one.count, "shards": len(one.shards), "bytes": sum(shard.bytes for shard in one.shards)}
        for name, one in index.splits.items()
    }


def _many(metavar: str) -> dict[str, Any]:
    return {"action": "append", "default": [], "metavar": metavar}


def _grouped(where: list[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for text in where:
        name, value = read_pair(text, "--where")
        grouped.setdefault(name, []).append(value)
    return grouped


def _split(text: str | None) -> str | dict[str, float] | None:
    if text is None or "=" not in text:
        return text
    pairs = (read_pair(part, "--split") for part in text.split(","))
    return {name: _number(value, f"--split {text!r}") for name, value in pairs}


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is no number.") from None
