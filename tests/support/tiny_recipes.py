"""What makes a run of a recipe of stage two tiny: a base, questions, two steps; all that its paper says stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from pairalign.data.pack import pack_pairs
from pairalign.demo.lessons import pack_lessons

RECIPES = Path(__file__).parents[2] / "configs" / "recompose"
SHARDS = {"touch": "lessons/touch", "pairs": "lessons/touch_pairs", "image": "lessons/image"}
SHARDS |= {"captions": "demo/pairs/image-text", "describe": "demo/pairs/image-text"}


def behind(command: list[str], words: list[str]) -> list[str]:
    """A command with further settings, of those that it has itself its own."""
    given = {word.partition("=")[0] for word in command if "=" in word}
    return [*command, *(word for word in words if word.partition("=")[0] not in given)]


def pack_questions(folder: Path) -> Path:
    """Questions about a touch and a picture, as Splash's prompts hold both, and about a text."""
    rng, size = np.random.default_rng(0), (48, 48, 3)
    made = (
        {
            "key": f"{n}",
            "touch": Image.fromarray(rng.integers(0, 255, size, np.uint8)),
            "image": Image.fromarray(rng.integers(0, 255, size, np.uint8)),
            "question": "how hard is it?",
            "answer": ("soft", "hard")[n % 2],
            "split": "train",
        }
        for n in range(8)
    )
    pack_pairs(made, folder / "touch", modalities=["touch", "image", "question", "answer"], progress=False)
    pack_lessons(folder, "text", {"val": 4})
    return folder


def tiny_stage_two(name: str, setup: Path, lessons: Path, out: Path) -> list[str]:
    """Settings behind a command. setup: what `make_setup` made; lessons: what `pack_questions` did."""
    told = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    words = [f"base={setup / 'base'}", f"root={setup}", f"out={out}", "sensors.touch.run=demo/run", "dtype=bfloat16"]
    if told["sensors"]["touch"].get("images"):
        words += ["sensors.touch.images=demo/pairs/image-text", "sensors.touch.image_count=16"]
    for part in ("tasks", "held_out", "validation", "calibration"):
        for task in told.get(part, {}):
            own = {("tasks", "touch"): lessons / "touch", ("held_out", "text"): lessons / "text"}
            shards = own.get((part, task), SHARDS.get(task, "lessons/image"))
            words.append(f"{part}.{task}.shards={shards}")
            words += [f"{part}.{task}.limit=4"] if part in ("held_out", "validation") else []
    words += ["calibration_size=4", "train.steps=2", "train.batch_size=2", "train.warmup=0", "train.accelerator=cpu"]
    gated = isinstance(told.get("max_forgetting"), dict)
    words += ["max_forgetting.without_signal=100", "max_forgetting.with_signal=100"] if gated else []
    words += ["train.validate_every=0", "train.measure_tokens=0", f"train.measure_with_signals={str(gated).lower()}"]
    words += ["train.epochs=null"] if "epochs" in told["train"] else []
    if told.get("dormant", {}).get("layers_to_transform"):
        words.append("dormant.layers_to_transform=[1]")
    if told.get("dormant", {}).get("score") == "dowser":
        words += ["dormant.options.prompts=4", "dormant.options.length=8"]
    return words
