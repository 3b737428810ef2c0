"""`pairalign align config.yaml [section.key=value …]`: train stage one, or go on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.completion import offer, settings
from pairalign.cli.device import read_device, with_device
from pairalign.cli.verbs import add_verb
from pairalign.core.config import AlignConfig, load_config


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign align glove.yaml",
        "pairalign align glove.yaml train.steps=200 out=trial --plugin glove.py --device cuda:0",
        "pairalign align glove.yaml --fresh --json --quiet",
    )
    parser = add_verb(verbs, "align", "stage one: align encoders on pairs", examples=examples)
    add_config_arguments(parser)
    parser.add_argument("--fresh", action="store_true", help="set aside the run in `out` as OUT.old-N, and start over")
    parser.set_defaults(run=run)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what to run, shared by verbs that read a configuration."""
    parser.add_argument("config", help="YAML file of the run")
    overrides = parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="override settings of the file"
    )
    offer(overrides, settings("align", "recompose", "sequence"))  # `plan` reads all three


def read_plugins(args: argparse.Namespace) -> list[str]:
    """What `--plugin` names: files by whole paths, which hold wherever a process is started, and modules."""
    return [str(Path(p).resolve()) if p.endswith(".py") else p for p in args.plugin]


def read_config(args: argparse.Namespace) -> AlignConfig:
    """The configuration that the arguments describe, plugins included."""
    from dataclasses import replace

    config = load_config(AlignConfig, args.config, args.overrides)
    plugins = read_plugins(args)
    return with_device(replace(config, plugins=(*config.plugins, *plugins)), args)


def run(args: argparse.Namespace) -> int:
    """Train, then say where the run is and what to do next."""
    config = read_config(args)
    read_device(args, config.train.accelerator)
    from pairalign.align.run import align_pairs, read_metrics
    from pairalign.processes.launch import current

    result = align_pairs(config, progress=not args.quiet, fresh=args.fresh)
    if not current().main:
        return 0
    last: dict[str, float] = {}
    for line in read_metrics(result.folder):
        last.update(line)
    figures = {name: value for name, value in sorted(last.items()) if name != "step"}
    lines = [f"{name:<40}{value:>10.4f}" for name, value in figures.items()]
    if result.finished:
        lines.insert(0, f"finished {result.finished}, nothing was trained; the figures are of then")
    lines.append(f"run: {result.folder}\nnext: pairalign evaluate {result.folder} --pairs SHARDS")
    answer(args, {"run": result.folder, "finished": result.finished, "metrics": figures}, *lines)
    return 0
