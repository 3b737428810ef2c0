"""`pairalign score MODEL --method splash --calibration SHARDS`: a significance file for dormant tuning.

`pairalign score recipe.yaml`: the scores that the recipe's run would choose by, from its base, calibration tasks and
dormant settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.completion import offer, settings
from pairalign.cli.device import add_base_arguments, read_device, read_loading
from pairalign.cli.settings import load_plugins, read_settings
from pairalign.cli.verbs import add_verb
from pairalign.core.arguments import check_arguments
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import ConfigError
from pairalign.core.names import names_module


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign score models/base --method splash --calibration shards --count 64",
        "pairalign score models/base --method mnaft --calibration vqa=vqa --calibration ocr=ocr",
        "pairalign score teach.yaml dormant.score=wanda",
    )
    parser = add_verb(verbs, "score", "how much a model needs each of its weights", examples=examples)
    parser.add_argument(
        "model", metavar="MODEL", help="image-text-to-text model, hub name or folder; or a recipe's YAML"
    )
    overrides = parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="override settings of the recipe"
    )
    offer(overrides, settings("recompose"))
    parser.add_argument("--method", help="splash (default), dowser, wanda, fisher, mnaft, taylor, magnitude, random")
    text = (
        "pairs that the model understands, image and text; repeatable as NAME=SHARDS, each a task, which mnaft compares"
    )
    parser.add_argument("--calibration", action="append", default=[], metavar="SHARDS", help=text)
    text = "layers: endings of names, with commas, a regular expression, or neurons (default of mnaft and taylor)"
    parser.add_argument("--target-modules", metavar="NAMES", help=text)
    parser.add_argument(
        "--prompt", help='of a sample, fields in braces; default "{image} {text}", as far as they exist'
    )
    parser.add_argument("--answer", default="", help="of a sample, for methods that need labels, such as fisher")
    parser.add_argument("--split", default="train", help="of the shards (train)")
    parser.add_argument("--count", type=int, default=128, help="samples of each task (128)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the method, repeatable")
    parser.add_argument("--dtype", default="auto", help="of the weights (auto, as stored)")
    parser.add_argument("--out", default="significance.safetensors", help="file to write (significance.safetensors)")
    parser.add_argument("--seed", type=int, default=0)
    add_base_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, then say where the file is."""
    if args.model.endswith((".yaml", ".yml")):
        return _run_recipe(args)
    if args.overrides:
        raise ConfigError(f"{args.overrides[0]!r}: settings are of a recipe's YAML, and MODEL={args.model!r} is none.")
    load_plugins(args)
    options = read_settings(args.option, "--option")
    check_arguments({"count": args.count, "seed": args.seed}, {"count": Count, "seed": Whole})
    from pairalign.dormant.linears import find_linears
    from pairalign.dormant.provenance import Calibration, Seen
    from pairalign.dormant.significance import check_score
    from pairalign.finetune.collator import Collator, calibration_batches
    from pairalign.finetune.config import TaskConfig
    from pairalign.finetune.tasks import Task
    from pairalign.runs.lock import alone
    from pairalign.sensors.processor import SensorProcessor, load_base

    method = args.method or "splash"
    check_score(method, options)
    with alone(args.out):
        model, processor = load_base(args.model, args.dtype, read_device(args), read_loading(args))
        linears, shown = find_linears(model, _targets(args.target_modules, method)), Calibration()
        for name, shards in _tasks(args.calibration).items():
            config = TaskConfig(shards, args.prompt or _prompt(shards), args.answer, args.split)
            task = Task(name, config, ".", (), answered=False)
            shown.extend_by(calibration_batches(task, Collator(SensorProcessor(processor, {})), args.count))
        about = {"method": method, "model": args.model, "seed": args.seed, "options": options}
        return _score(args, model, linears, Seen(shown) if shown else None, about)


def _run_recipe(args: argparse.Namespace) -> int:
    """What the recipe says; the command line says where and how."""
    told = {
        "--method": args.method,
        "--calibration": args.calibration,
        "--option": args.option,
        "--prompt": args.prompt,
    }
    if given := next(
        (name for name, value in {**told, "--target-modules": args.target_modules}.items() if value), None
    ):
        raise ConfigError(f"{given}: the recipe {args.model!r} says it: change it there, or as section.key=value.")
    from pairalign.core.config import load_config
    from pairalign.dormant.provenance import Seen
    from pairalign.finetune.config import RecomposeConfig
    from pairalign.finetune.score_recipe import load_scored
    from pairalign.runs.lock import alone

    load_plugins(args)
    config = load_config(RecomposeConfig, args.model, args.overrides)
    with alone(args.out):
        model, linears, shown = load_scored(config, read_device(args, config.train.accelerator))
        which = config.dormant
        about = {"method": which.score, "model": config.base, "seed": which.seed, "options": dict(which.options)}
        return _score(args, model, linears, Seen(shown) if shown else None, about)


def _score(args: argparse.Namespace, model: Any, linears: Any, seen: Any, about: dict[str, Any]) -> int:
    """Write the file, and say what is in it."""
    from pairalign.dormant.plan import aligned
    from pairalign.dormant.provenance import read_by
    from pairalign.dormant.selection.relevant import neuron_layers, neuron_rows
    from pairalign.dormant.significance import save_scores, score_model

    scores = score_model(about["method"], model, linears, seen, seed=about["seed"], **about["options"])
    save_scores(scores, linears, args.out, progress=not args.quiet, **about, calibration=read_by(scores, seen))
    neurons = neuron_layers(scores)
    lines = aligned(neuron_rows(neurons)) if neurons else []
    total = sum(linear.weight.numel() for linear in linears.values())
    lines.append(f"{len(linears)} layers, {total:,} weights\nscores: {args.out}")
    lines.append(f"next: scores: {args.out} in a RecomposeConfig")
    record = {"scores": args.out, "method": about["method"], "layers": len(linears), "weights": total}
    answer(args, {**record, "neurons": neurons}, *lines)
    return 0


def _targets(text: str | None, method: str) -> str | list[str] | None:
    """What `find_linears` takes."""
    if text is None:
        return "neurons" if method in ("mnaft", "taylor") else None
    plain = all(part.replace("_", "").replace(".", "").isalnum() for part in text.split(","))
    return text.split(",") if plain and text not in ("neurons", "all-linear") else text


def _tasks(texts: Sequence[str]) -> dict[str, str]:
    """Shards by task; of shards without a name, the folder's."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, shards = text.partition("=")
        if not sign or not names_module(name):
            name, shards = Path(text).name if len(texts) > 1 else "calibration", text
        if name in found:
            raise ConfigError(f"--calibration {text!r}: the task {name!r} is there already: write NAME={shards}.")
        found[name] = shards
    return found


def _prompt(folder: str) -> str:
    from pairalign.core.secrets import hide
    from pairalign.data.index import load_index

    fields = [name for name in ("image", "text") if name in load_index(folder).modalities]
    if not fields:
        raise ConfigError(
            f"--calibration {hide(folder)!r} holds neither image nor text: say with --prompt what to read."
        )
    return " ".join(f"{{{name}}}" for name in fields)
