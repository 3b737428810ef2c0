"""`pairalign push FOLDER ORG/NAME`: a sensor pack or an aligned run to the Hugging Face Hub, with its card."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb

_PUSH = """What is sent is the pack, or of an aligned run its configuration without this machine's places,
its weights and its figures; never code. The repository then holds these files and no others.
Log in first: `hf auth login`, or HF_TOKEN."""


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign push packs/touch org/touch --dry-run",
        "pairalign push runs/space org/space --private --message 'two more data sets'",
    )
    text = "push a sensor pack or an aligned run to the Hub"
    parser = add_verb(verbs, "push", text, examples=examples, description=_PUSH)
    parser.add_argument("folder", metavar="FOLDER", help="what `pairalign export` or `pairalign align` wrote")
    parser.add_argument("name", metavar="ORG/NAME", help="repository; made if it is not there")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--branch", metavar="NAME", help="push to it; default: main")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument("--pull-request", action="store_true", help="open one instead of changing the branch")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Push and print where it is."""
    from pairalign.core.errors import HubError
    from pairalign.hub.place import NAME
    from pairalign.hub.published import published

    match = NAME.fullmatch(args.name)
    if match is None or match["revision"]:
        raise HubError(f"{args.name!r} is no name of a repository: give ORG/NAME, and a branch with --branch.")
    what = published(args.folder)
    if args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            sizes = what.sizes(args.name, Path(folder))
        lines = [f"{name:<36}{size / 2**20:>10.2f} MiB" for name, size in sizes.items()]
        told = f"nothing was sent; without --dry-run this goes to {args.name}"
        answer(args, {"name": args.name, "bytes": sizes, "pushed": None}, *lines, told)
        return 0
    options = {"private": args.private, "branch": args.branch, "create_pr": args.pull_request or None}
    options |= {"commit_message": args.message} if args.message else {}
    address = what.push_to_hub(args.name, **options)
    answer(args, {"name": args.name, "pushed": address}, f"pushed: {address}")
    return 0
