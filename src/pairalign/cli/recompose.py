"""`pairalign recompose config.yaml [section.key=value …]`: teach a language model its new sense."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairalign.core.config import load_config


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("recompose", help="stage two: let a language model read a sensor")
    parser.add_argument("config", help="YAML file of a RecomposeConfig")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="override settings of the file")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="Python file with your encoder")
    parser.add_argument("--dry-run", action="store_true", help="print what would train, its memory and delta; no more")
    parser.add_argument("--max-forgetting", type=float, metavar="POINTS", help="stop where held-out tasks lose more")
    parser.add_argument("--fresh", action="store_true", help="start over, deleting what the run folder holds")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then say what was learned and forgotten."""
    from pairalign.finetune.config import RecomposeConfig

    config = load_config(RecomposeConfig, args.config, args.overrides)
    plugins = [str(Path(p).resolve()) if p.endswith(".py") else p for p in args.plugin]
    config = replace(config, plugins=(*config.plugins, *plugins))
    if args.max_forgetting is not None:
        config = replace(config, max_forgetting=args.max_forgetting)
    from pairalign.finetune.run import plan_recompose, recompose_mllm
    from pairalign.launch import current

    if args.dry_run:
        print(plan_recompose(config))
        return 0
    done = recompose_mllm(config, progress=not args.quiet, fresh=args.fresh)
    if not current().main:
        return 0
    for part in ("validation", "held_out"):
        for name, now in done.results["after"].get(part, {}).items():
            before = done.results["base"][part][name]
            count = sum(kind["n"] for kind in now["kinds"].values())
            print(f"{part}/{name:<24} {before['accuracy']:.3f} → {now['accuracy']:.3f}  (n {count})")
    for name in ("learning", "forgetting"):
        if name in done.results:
            print(f"{name:<12}{done.results[name]['points']:+7.1f} points")
    if done.results["stopped"]:
        print(done.results["stopped"])
    print(f"run: {done.folder}\nnext: pairalign export {done.folder} PACK")
    return 1 if done.results["stopped"] else 0
