"""Two sensors taught apart, with default settings, in one model: each alone, both installed, both in one prompt.

    pairalign demo --out demo
    python bench/two_sensors.py --demo demo --out two_sensors

The weights of both act from their sensor's first token on, so that they may be the same rows. Every question about one
sensor is asked of the model with its pack alone, of the model with both packs, and with an irrelevant signal of the
other sensor before or behind its own: tokens follow the last sensor before them, so that "behind" has the question read
and answered with the other one's weights. All of it synthetic.

Note:
    Runs and packs are kept under `--out`, so that it can be stopped; an interval is over questions, of one run for each
    sensor.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

SENSORS = ("touch", "points")
TRAIN, SHOWN, SEEN = 1500, 96, 30  # questions of training; calibration samples; batch


def settings(sensor: str, args: argparse.Namespace) -> dict[str, Any]:
    """The run of one sensor."""
    task = {"shards": f"lessons/{sensor}", "prompt": f"{{{sensor}}} {{question}}", "answer": "{answer}"}
    captions = {"shards": str(args.demo / "pairs" / "image-text"), "prompt": "{image} {text}", "answer": ""}
    return {
        "base": args.base,
        "dtype": "float32",
        "root": str(args.out),
        "out": str(args.out / "runs" / sensor),
        "sensors": {sensor: {"run": str(args.demo / "run"), "tokens": 4}},
        "tasks": {sensor: task},
        "validation": {sensor: {**task, "split": "val"}},
        "calibration": {"captions": captions},
        "calibration_size": SHOWN,
        "dormant": {"score": "splash", "structure": "rows", "density": args.density},
        "train": {
            "steps": args.steps,
            "batch_size": 24,
            "warmup": 20,
            "lr": args.lr,
            "bridge_lr": 2e-3,
            "accelerator": "cpu",
            "threads": 1,
        },
    }


def make_packs(args: argparse.Namespace) -> dict[str, Path]:
    """Both, taught apart, unless they are there."""
    import pairalign as pa
    from pairalign.demo.lessons import pack_lessons

    packs = {}
    for sensor in SENSORS:
        packs[sensor] = args.out / "packs" / sensor
        if not packs[sensor].exists():
            pack_lessons(args.out / "lessons", sensor, {"train": TRAIN, "val": args.questions})
            run = pa.recompose_mllm(pa.load_config(pa.RecomposeConfig, settings(sensor, args)))
            pa.export_pack(run, packs[sensor])
    return packs


def questions(sensor: str, args: argparse.Namespace) -> list[Any]:
    """Held-out examples of a sensor."""
    from pairalign.finetune.config import TaskConfig
    from pairalign.finetune.tasks import Task

    told = settings(sensor, args)["validation"][sensor]
    return list(Task(sensor, TaskConfig(**told), args.out, [sensor]).read())


def beside(examples: list[Any], other: str | None, before: bool) -> list[Any]:
    """The same with a signal of another object and sensor, before all else or behind the sensor's own."""
    from pairalign.data.world import World

    if other is None:
        return examples
    world, found = World(seed=77), []
    for n, example in enumerate(examples):
        own = next(k for k, part in enumerate(example.parts) if part["type"] in SENSORS)
        part = {"type": other, other: world.sample(n, None, (other,))[other]}
        place = 0 if before else own + 1
        found.append(example._replace(parts=[*example.parts[:place], part, *example.parts[place:]]))
    return found


@torch.no_grad()
def ask(model: Any, processor: Any, examples: list[Any]) -> tuple[Any, list[bool]]:
    """Accuracy with its interval, and which were right."""
    from pairalign.evaluate.intervals import wilson
    from pairalign.finetune.collator import Collator
    from pairalign.finetune.measure import answer_logits, exact_texts

    collate, hits = Collator(processor), list[bool]()
    for n in tqdm(range(0, len(examples), SEEN), leave=False):
        batch = collate(examples[n : n + SEEN])
        hits += exact_texts(*answer_logits(model, batch), collate.tokenizer)
    return wilson(sum(hits), len(hits)), hits


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each question set and prompt."""
    import pairalign as pa

    packs, found = make_packs(args), []
    both, processor = pa.load_sensor_model(args.base, list(packs.values()), dtype="float32")
    masks = [both.llm.masks(sensor) for sensor in SENSORS]  # type: ignore[operator]
    same = sum(int((masks[0][n].bitmap() & masks[1][n].bitmap()).sum()) for n in masks[0].keys() & masks[1].keys())
    print(f"rows of both: {same:,} of {sum(mask.count for mask in masks[0].values()):,} weights are the same")
    for sensor, other in (SENSORS, SENSORS[::-1]):
        asked = questions(sensor, args)
        alone, own = pa.load_sensor_model(args.base, [packs[sensor]], dtype="float32")
        rows = {
            f"{sensor}, its pack alone": (alone, own, asked),
            f"{sensor}, both installed": (both, processor, asked),
            f"{other}, then {sensor}": (both, processor, beside(asked, other, before=True)),
            f"{sensor}, then {other}": (both, processor, beside(asked, other, before=False)),
        }
        for name, one in rows.items():
            score, hits = ask(*one)
            first = hits if not found or found[-1]["about"] != sensor else found[-1]["first"]
            same = sum(a == b for a, b in zip(hits, first, strict=True))
            record = {"about": sensor, "prompt": name, "n": score.n, "value": score.value, "same": same}
            found.append({**record, "low": score.low, "high": score.high, "first": first})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """As Markdown; `like alone`: answers as right or wrong as those of the pack alone."""
    lines = ["| question about | prompt | n | accuracy | 95 % interval | like alone |", "|---|---|---|---|---|---|"]
    for one in found:
        lines.append(
            f"| {one['about']} | {one['prompt']} | {one['n']} | {one['value']:.3f} | {one['low']:.3f} to "
            f"{one['high']:.3f} | {one['same']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Teach, install, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="folder that `pairalign demo` wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", default=None, help="base model; default: the demo's own")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--questions", type=int, default=240, help="held-out questions about each sensor")
    args = parser.parse_args()
    from pairalign.demo.base import base_folder

    args.base = args.base or str(base_folder())
    args.out.mkdir(parents=True, exist_ok=True)
    found = measure(args)
    plain = [{name: value for name, value in one.items() if name != "first"} for one in found]
    (args.out / "two_sensors.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
