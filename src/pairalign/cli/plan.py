"""`pairalign plan config.yaml`: what a run would cost, training nothing.

Stage one: the pair graph, one batch of everything, memory and time. Stage two, known by its keys `base` and `sensors`:
what trains, memory, delta and arithmetic on the real model's sizes; neither weights, shards nor stage-one runs have to
exist. Skills in sequence, known by `stages`: the same of each arm.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairalign.cli.align import add_config_arguments, read_config
from pairalign.cli.answer import answer
from pairalign.cli.device import read_device
from pairalign.cli.settings import load_plugins
from pairalign.cli.verbs import add_verb
from pairalign.core.config import config_keys, load_config
from pairalign.core.errors import ConfigError

if TYPE_CHECKING:
    from pairalign.finetune.config import RecomposeConfig
    from pairalign.finetune.recipe_plan import MetaPlan


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign plan glove.yaml",
        "pairalign plan teach.yaml --architecture models/base --tflops 300",
        "pairalign plan skills.yaml --json",
    )
    parser = add_verb(verbs, "plan", "check a run and estimate its cost, training nothing", examples=examples)
    add_config_arguments(parser)
    two = parser.add_argument_group("stage two")
    two.add_argument("--architecture", metavar="FOLDER", help="folder with the base's config.json, or a hub id")
    two.add_argument("--tokens", type=int, default=512, help="tokens of a sample (512)")
    two.add_argument("--tflops", type=float, help="speed in TFLOP/s, to print hours")
    two.add_argument("--row", action="store_true", help="print a row of the recipes' table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    keys = config_keys(args.config)
    if keys & {"base", "sensors", "senses"}:
        return _stage_two(args)
    if "stages" in keys:
        return _sequence(args)
    config = read_config(args)
    read_device(args, config.train.accelerator)
    from pairalign.align.plan import plan_run

    plan = plan_run(config)
    answer(args, plan.record(), *([] if args.json else [plan.text()]))
    return 0


def _sequence(args: argparse.Namespace) -> int:
    """Every arm's stages, and what the first of them costs on the real model's sizes; the others differ in steps."""
    from pairalign.finetune.sequence.config import SequenceConfig
    from pairalign.finetune.sequence.stages import stages_of

    load_plugins(args)
    stages = stages_of(load_config(SequenceConfig, args.config, args.overrides))
    found: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(stage.arm for stage in stages):
        of = [stage for stage in stages if stage.arm == arm]
        steps = {stage.name: stage.config.train.steps for stage in of}
        found[arm] = {"steps": steps, "seeds": len(of) // len(steps), "plan": _planned(of[0].config, args)}
    from pairalign.finetune.recipe_page import page, record

    lines = []
    for arm, one in found.items():
        told = ", ".join(f"{name} {steps:,}" for name, steps in one["steps"].items())
        lines.append(f"arm {arm}, {one['seeds']} seeds; steps of each stage: {told}; its first stage:\n")
        lines.append(page(one["plan"], args.tflops) + "\n")
    answer(args, {arm: {**one, "plan": record(one["plan"], args.tflops)} for arm, one in found.items()}, *lines)
    return 0


def _planned(config: RecomposeConfig, args: argparse.Namespace) -> MetaPlan:
    from pairalign.finetune.architecture import find_architecture
    from pairalign.finetune.recipe_plan import plan_recipe

    beside = Path(args.config).parent / "architectures"
    return plan_recipe(config, args.architecture or find_architecture(config.base, beside), args.tokens)


def _stage_two(args: argparse.Namespace) -> int:
    from pairalign.finetune.config import RecomposeConfig

    if args.device is not None:
        read_device(args)  # nothing runs there, but a wrong name is a wrong name
    load_plugins(args)
    config = load_config(RecomposeConfig, args.config, args.overrides)
    if args.tflops is not None and not 0 < args.tflops < math.inf:
        raise ConfigError(f"--tflops {args.tflops:g}: give a speed above 0.")
    from pairalign.finetune.recipe_page import page, record, row

    plan = _planned(config, args)
    name = config.base.rpartition("/")[2]
    text = row(Path(args.config).stem, name, plan) if args.row else page(plan, args.tflops)
    answer(args, record(plan, args.tflops), text)
    return 0
