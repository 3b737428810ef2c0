"""`pairalign data convert NAME FOLDER -o SHARDS`: a published data set's folder becomes pair shards."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.completion import formats, offer
from pairalign.cli.settings import load_plugins, read_settings
from pairalign.cli.verbs import add_verb


class ListFormats(argparse.RawDescriptionHelpFormatter):
    """Lists the formats, which takes importing them, only when help is printed."""

    def format_help(self) -> str:
        """The help text and the formats."""
        from pairalign.data.convert import known_formats

        lines = ["", "dataset formats:"]
        for name, form in known_formats().items():
            lines.append(f"  {name:<14}{form.title}")
            options = " ".join(f"{option}={value}" for option, value in form.options.items())
            lines += textwrap.wrap(f"options: {options}", 100, initial_indent=" " * 16) if options else []
        return super().format_help() + "\n".join(lines) + "\n"


def register(subverbs: Any) -> None:
    """Add the subverb."""
    examples = (
        "pairalign data convert tvl downloads/tvl_dataset -o shards",
        "pairalign data convert modelnet40 downloads/ModelNet40 -o shards --limit 100 --workers 4",
    )
    text = "turn a published data set's folder into shards"
    parser = add_verb(subverbs, "data convert", text, examples=examples, formatter_class=ListFormats)
    form = parser.add_argument("format", metavar="NAME", help="how the folder is laid out, see below")
    offer(form, formats)
    parser.add_argument("folder", metavar="FOLDER", help="the data set, as its authors publish it")
    parser.add_argument("-o", "--out", required=True, metavar="SHARDS", help="folder to write shards into")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="option of the format")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--shard-samples", type=int, default=1000, metavar="N", help="samples a shard (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the order and of the splits by object (0)")
    parser.add_argument("--resize", type=int, metavar="PIXELS", help="reduce images to this shorter side, re-encoding")
    parser.add_argument("--limit", type=int, metavar="N", help="convert at most so many samples")
    parser.add_argument("--strict", action="store_true", help="stop at the first sample that cannot be converted")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and print the report."""
    from pairalign.core.parameters import text_settings
    from pairalign.data.convert import convert_data, find_format

    load_plugins(args)
    done = convert_data(
        args.format,
        args.folder,
        args.out,
        options=read_settings(args.option, "--option", plain=text_settings(find_format(args.format).parameters)),
        shard_samples=args.shard_samples,
        workers=args.workers,
        seed=args.seed,
        resize=args.resize,
        limit=args.limit,
        strict=args.strict,
        overwrite=args.overwrite,
        progress=not args.quiet,
    )
    answer(args, {**done.report, "shards": done.folder}, f"{done.text()}\nnext: pairalign data audit {args.out}")
    return 0
