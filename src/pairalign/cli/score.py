"""`pairalign score MODEL --method splash --calibration SHARDS`: a significance file for dormant tuning."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.device import add_base_arguments, add_device_argument, read_device, read_loading
from pairalign.cli.settings import read_settings
from pairalign.core.arguments import check_arguments
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import ConfigError


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("score", help="how much a model needs each of its weights")
    parser.add_argument("model", metavar="MODEL", help="image-text-to-text model: hub name or folder")
    parser.add_argument("--method", default="splash", help="splash, dowser, wanda, fisher, mnaft, magnitude, random")
    parser.add_argument("--calibration", metavar="SHARDS", help="pairs that the model understands, image and text")
    parser.add_argument(
        "--prompt", help='of a sample, fields in braces; default "{image} {text}", as far as they exist'
    )
    parser.add_argument("--answer", default="", help="of a sample, for methods that need labels, such as fisher")
    parser.add_argument("--split", default="train", help="of the shards (train)")
    parser.add_argument("--count", type=int, default=128, help="samples (128)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the method, repeatable")
    parser.add_argument("--dtype", default="auto", help="of the weights (auto, as stored)")
    parser.add_argument("--out", default="significance.safetensors", help="file to write (significance.safetensors)")
    parser.add_argument("--seed", type=int, default=0)
    add_device_argument(parser)
    add_base_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, then say where the file is."""
    options = read_settings(args.option, "--option")
    check_arguments({"count": args.count, "seed": args.seed}, {"count": Count, "seed": Whole})
    from pairalign.dormant.linears import find_linears
    from pairalign.dormant.provenance import Seen, read_by
    from pairalign.dormant.significance import check_score, save_scores, score_model
    from pairalign.finetune.collator import Collator, calibration_batches
    from pairalign.finetune.config import TaskConfig
    from pairalign.finetune.tasks import Task
    from pairalign.runs.lock import alone
    from pairalign.sensors.processor import SensorProcessor, load_base

    check_score(args.method, options)
    with alone(args.out):
        model, processor = load_base(args.model, args.dtype, read_device(args), read_loading(args))
        linears, seen = find_linears(model), None
        if args.calibration:
            prompt = args.prompt or _prompt(args.calibration)
            config = TaskConfig(args.calibration, prompt, args.answer, args.split)
            task = Task("calibration", config, ".", (), answered=False)
            seen = Seen(calibration_batches(task, Collator(SensorProcessor(processor, {})), args.count))
        scores = score_model(args.method, model, linears, seen, seed=args.seed, **options)
        about = {"method": args.method, "model": args.model, "seed": args.seed, "options": options}
        about |= {"calibration": read_by(scores, seen)}
        save_scores(scores, linears, args.out, progress=not args.quiet, **about)
    total = sum(linear.weight.numel() for linear in linears.values())
    print(
        f"{len(linears)} layers, {total:,} weights\nscores: {args.out}\nnext: scores: {args.out} in a RecomposeConfig"
    )
    return 0


def _prompt(folder: str) -> str:
    from pairalign.core.secrets import hide
    from pairalign.data.index import load_index

    fields = [name for name in ("image", "text") if name in load_index(folder).modalities]
    if not fields:
        raise ConfigError(
            f"--calibration {hide(folder)!r} holds neither image nor text: say with --prompt what to read."
        )
    return " ".join(f"{{{name}}}" for name in fields)
