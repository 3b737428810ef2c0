"""The ways to learn that `bench/front.py` compares, and the configuration of one run.

Arms act at every token, as published, unless their name says "from the sensor on". A random control trains as many
weights, and names the arm it is of.

Note:
    A tuned front end trains at the arm's own rate, as in Splash's recipe, and keeps all of its tokens, so that every
    step reads the signals anew. MNAFT as published trains the vision tower, too, which takes pictures to learn from: it
    and its control are taught 120 questions of the kinds held out for all others, and that is a rehearsal. Beside it
    stand its neurons of the language model alone, taught what the others are. Rehearsed arms hold a quarter of each
    batch, prompts that the base wrote with a touch put in, to what the base says; nobody labels them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Arm:
    """One way to learn.

    calibration: "captions"; or "questions", about pictures and texts, with answers.
    sense: settings of the sensor. pictures: whether questions on pictures are learned beside, half as often.
    control_of: the arm whose random control this is. train: more settings of training. steps: times those of others.
    """

    name: str
    method: str = "dormant"
    dormant: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    calibration: str = "captions"
    sense: dict[str, Any] = field(default_factory=lambda: {"tokens": 4})
    pictures: bool = False
    control_of: str | None = None
    train: dict[str, Any] = field(default_factory=dict)
    steps: int = 1

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates to choose from; the bridge alone has none."""
        return RATES if self.method != "bridge" else RATES[:1]


ALWAYS, BEHIND = {"acts": "always"}, {"acts": "sensor"}


def rows(score: str, **more: Any) -> dict[str, Any]:
    return {"score": score, "structure": "rows", "density": 0.1, **ALWAYS, **more}


def directions(density: float = 0.1, **more: Any) -> dict[str, Any]:
    return {"structure": "directions", "density": density, **ALWAYS, **more}


def matrices(*names: str, **more: Any) -> dict[str, Any]:
    return {"structure": "matrices", "target_modules": names, **ALWAYS, **more}


def splash(**more: Any) -> dict[str, Any]:
    """As published, of a decoder's inner layers."""
    chosen = {"structure": "weights", "budget": "per_row", "density": 0.6, "layers_to_transform": (1, 2)}
    return {"score": "splash", **chosen, **ALWAYS, **more}


def mnaft(choose: str, **more: Any) -> dict[str, Any]:
    """As `configs/recompose/mnaft.yaml` has it; choose: "relevant", or "random" for as many of each layer."""
    shares = {"agnostic": 0.7, "specific": 0.9, "layers": 0.5}
    whole = {"score": "mnaft", "structure": "neurons", "target_modules": "neurons", "options": shares}
    return {**whole, "choose": choose, **ALWAYS, **more}


ATTENTION, GATE_UP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj")
REHEARSED = {"rehearse": {"share": 0.25, "prompts": "written"}}
SPOKEN = {"exclude_modules": r".*vision_tower.*"}
TUNED = {"tokens": "all", "tune": "all"}
ARMS = (
    Arm("full tuning", "full"),
    Arm("full tuning, twice the steps", "full", steps=2),
    Arm("bridge only", "bridge"),
    Arm("LoRA r 12", "lora", options={"rank": 12}),
    Arm("LwF .1", "lwf", options={"weight": 0.1}),
    Arm("WiSE-FT .5", "wise_ft"),
    Arm("EWC", "ewc", options={"weight": 100.0}, calibration="questions"),
    Arm("SPIDER's blend", "spider"),
    Arm("4 LoRA experts r 4", "moe_lora"),
    Arm("SA-proj", dormant=matrices(*ATTENTION)),
    Arm("SA-proj, from the sensor on", dormant=matrices(*ATTENTION, **BEHIND)),
    Arm("Gate&Up", dormant=matrices(*GATE_UP)),
    Arm("Splash as published, .6", dormant=splash()),
    Arm("Splash .6, from the sensor on", dormant=splash(**BEHIND)),
    Arm("Splash .6, tuned front end", dormant=splash(), sense=TUNED),
    Arm(
        "random .6, tuned front end",
        dormant=splash(score="random"),
        sense=TUNED,
        control_of="Splash .6, tuned front end",
    ),
    Arm("MNAFT as published", dormant=mnaft("relevant"), calibration="questions", pictures=True),
    Arm(
        "MNAFT, random neurons",
        dormant=mnaft("random"),
        calibration="questions",
        pictures=True,
        control_of="MNAFT as published",
    ),
    Arm("MNAFT, language model", dormant=mnaft("relevant", **SPOKEN), calibration="questions"),
    Arm(
        "MNAFT, language model, random neurons",
        dormant=mnaft("random", **SPOKEN),
        calibration="questions",
        control_of="MNAFT, language model",
    ),
    Arm("rows .1, Splash, from the sensor on", dormant=rows("splash", **BEHIND)),
    Arm(
        "rows .1, random, from the sensor on",
        dormant=rows("random", **BEHIND),
        control_of="rows .1, Splash, from the sensor on",
    ),
    Arm("rows .1, from the sensor on, rehearsed", dormant=rows("splash", **BEHIND), train=REHEARSED),
    Arm(
        "rows .1, from the sensor on, rehearsed, twice the steps",
        dormant=rows("splash", **BEHIND),
        train=REHEARSED,
        steps=2,
    ),
    Arm("rows .1, Splash", dormant=rows("splash")),
    Arm("rows .1, random", dormant=rows("random"), control_of="rows .1, Splash"),
    Arm("rows .1, highest Splash", dormant=rows("splash", choose="highest")),
    Arm("directions .1, least used", dormant=directions()),
    Arm("directions .3, random", dormant=directions(0.3, score="random")),
    Arm("directions .3, most used", dormant=directions(0.3, choose="highest")),
    Arm("directions .3, least used", dormant=directions(0.3)),
    Arm("rows .1, Splash on questions", dormant=rows("splash"), calibration="questions"),
    Arm("directions .3, least used on questions", dormant=directions(0.3), calibration="questions"),
)


def settings(arm: Arm, rate: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The configuration of one run."""
    asked = {"answer": "{answer}"}
    touch = {"shards": "lessons/touch", "prompt": "{touch} {question}", **asked}
    pairs = {
        "shards": "lessons/touch_pairs",
        "prompt": "{first} and {second} {question}",
        "signals": {"first": "touch", "second": "touch"},
        **asked,
    }
    image = {"shards": "lessons/image", "prompt": "{image} {question}", **asked}
    text = {"shards": "lessons/text", "prompt": "{text}. {question}", **asked}
    held = {
        "image": {**image, "split": "val"},
        "text": {**text, "split": "val"},
        "words": {"shards": "lessons/words", "prompt": "{question}", "split": "val", **asked},
    }
    captions = {"shards": str(args.demo / "pairs" / "image-text"), "prompt": "{image} {text}", "answer": ""}
    train = {"steps": args.steps * arm.steps, "batch_size": 24, "warmup": 20, "lr": rate, "bridge_lr": 2e-3}
    return {
        "base": args.base,
        "dtype": "float32",
        "root": str(args.out),
        "out": str(args.out / "runs" / f"{arm.name} {rate:g} {seed}".replace(" ", "_").replace("/", "_")),
        "seed": seed,
        "sensors": {"touch": {"run": str(args.demo / "run"), **arm.sense}},
        "tasks": {"touch": touch, "pairs": pairs, **({"image": {**image, "weight": 0.5}} if arm.pictures else {})},
        "validation": {"touch": {**touch, "split": "val"}, "pairs": {**pairs, "split": "val"}},
        "held_out": held,
        "calibration": {"captions": captions} if arm.calibration == "captions" else {"image": image, "text": text},
        "calibration_size": 96,
        "method": arm.method,
        "options": arm.options,
        "dormant": arm.dormant,
        "train": {**train, "accelerator": "cpu", "threads": 1, "validate_every": args.every, **arm.train},
    }
