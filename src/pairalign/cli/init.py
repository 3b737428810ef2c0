"""`pairalign init NAME`: a project to begin with, which runs as it is written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb
from pairalign.project.encoder import KINDS, PARTNERS


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "init",
        "a project to begin with: encoder, configurations, made-up rows, a test",
        examples=("pairalign init glove --with image", "pairalign init grip --with text --points --out lab/grip"),
        description="Write a project for a sensor of yours. Every command in its README runs as it stands, on made-up\n"
        "recordings and small models; then you put yours in their place.",
    )
    parser.add_argument("name", help="of the sensor, a lower-case word such as glove")
    parser.add_argument(
        "--with",
        dest="partner",
        choices=PARTNERS,
        default=PARTNERS[0],
        help="what recordings pair it with (image)",
    )
    kinds = parser.add_mutually_exclusive_group()
    for kind, start in KINDS.items():
        kinds.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind, help=f"its signal is {start.what}"
        )
    parser.add_argument("--rows", type=int, default=10, help="made-up recordings (10)")
    parser.add_argument("--seed", type=int, default=0, help="of what is made up (0)")
    parser.add_argument("--out", type=Path, help="folder to write, which must not exist or be empty (NAME)")
    parser.set_defaults(run=run, kind=next(iter(KINDS)))


def run(args: argparse.Namespace) -> int:
    """Write it and say what to do next."""
    from pairalign.project.write import start_project

    folder = args.out or Path(args.name)
    written = start_project(folder, args.name, kind=args.kind, partner=args.partner, count=args.rows, seed=args.seed)
    lines = [*(f"wrote {path}" for path in written), f"next: cd {folder}, then the commands of its README.md"]
    answer(args, {"folder": folder, "wrote": written}, *lines)
    return 0
