"""Ways to teach the base, each with the rates that are tried: one dataclass, one list.

Note:
    `rates` are of the language model's weights; an arm without any has one rate, which it does not use. Arms act at
    every token, as published, unless they say `sensor`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

RATES = (1e-4, 3e-4, 1e-3)  # of parts of the weights
SMALL = (2e-5, 5e-5, 1e-4)  # of all of them
ATTENTION, GATE_UP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj")


@dataclass(frozen=True)
class Arm:
    """sense: of `real.senses`. lessons: which of its shards are taught, a task each, and asked. steps: times those that
    are asked for. seeds: how many at the rate that was chosen. like: the arm whose chosen rate it takes."""

    name: str
    method: str = "dormant"
    dormant: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] = RATES
    lessons: tuple[str, ...] = ("object",)
    steps: float = 1.0
    seeds: int = 3
    sense: str = "touch"
    like: str = ""


def rows(acts: str, score: str = "splash", **more: Any) -> dict[str, Any]:
    """Rows at 10 % of all seven projections."""
    return {"score": score, "structure": "rows", "density": 0.1, "acts": acts, **more}


def rehearsed(share: float, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    """Settings of training that rehearse."""
    return {"rehearse": {"share": share, "weight": weight, **more}}


def other(arm: Arm, name: str, *lessons: str, **more: Any) -> Arm:
    """An arm that is taught other lessons at the rate that was chosen for its own."""
    return replace(arm, name=name, lessons=lessons, like=arm.name, **more)


SENSOR = Arm("rows .1, Splash, from the sensor on", dormant=rows("sensor"))
REHEARSED = replace(SENSOR, name="the same, rehearsed", train=rehearsed(0.25))
ALWAYS = Arm("rows .1, Splash, always", dormant=rows("always"))
FULL = Arm("full tuning", "full", rates=SMALL)
NOTHING = Arm("nothing", "bridge", rates=(), steps=0, seeds=1)
BRIDGE = Arm("bridge only", "bridge", rates=())
SOUNDS = replace(REHEARSED, name="sounds, rehearsed", lessons=("sound",), sense="sound")
SHAPES = replace(REHEARSED, name="shapes, rehearsed", lessons=("shape",), sense="points")
ARMS = (
    NOTHING,
    FULL,
    Arm("LoRA r 8", "lora", options={"rank": 8}),
    BRIDGE,
    Arm("LwF .1", "lwf", options={"weight": 0.1}, rates=SMALL),
    Arm("EWC", "ewc", options={"weight": 100.0}, rates=SMALL),
    Arm("full tuning, pulled back to .5", "full", train={"pull_back": 0.5}, rates=SMALL, like=FULL.name),
    Arm("SA-proj", dormant={"structure": "matrices", "target_modules": ATTENTION, "acts": "always"}, rates=SMALL),
    Arm("Gate&Up", dormant={"structure": "matrices", "target_modules": GATE_UP, "acts": "always"}, rates=SMALL),
    Arm(
        "Splash as published, .6", dormant={"score": "splash", "structure": "weights", "density": 0.6, "acts": "always"}
    ),
    ALWAYS,
    replace(ALWAYS, name="rows .1, Splash, always, pulled back to .5", train={"pull_back": 0.5}, like=ALWAYS.name),
    Arm("rows .1, random, always", dormant=rows("always", "random")),
    Arm("rows .1, highest Splash, always", dormant=rows("always", choose="highest")),
    SENSOR,
    Arm("rows .1, random, from the sensor on", dormant=rows("sensor", "random")),
    Arm("rows .1, highest Splash, from the sensor on", dormant=rows("sensor", choose="highest")),
    REHEARSED,
    other(REHEARSED, "the same, rehearsed, many kinds of questions", "many", "pairs", steps=3),
    other(REHEARSED, "the same, rehearsed, material of objects never touched", "apart"),
    SOUNDS,
    replace(FULL, name="sounds, full tuning", lessons=("sound",), sense="sound"),
    other(SOUNDS, "sounds, many kinds", "sound many", "sound pairs", steps=3),
    other(SOUNDS, "sounds, material apart", "sound apart", seeds=1),
    SHAPES,
    replace(FULL, name="shapes, full tuning", lessons=("shape",), sense="points"),
    replace(BRIDGE, name="shapes, bridge only", lessons=("shape",), sense="points", seeds=1),
    other(SHAPES, "shapes, many kinds", "shape many", "shape pairs", steps=3),
    other(SHAPES, "shapes, kinds of classes never taught", "shape apart", seeds=1),
)
QUICK = (FULL, SENSOR, REHEARSED)
# What is tried for rehearsal, at one rate and with one seed, on a part of the training contacts.
TRIED = (
    SENSOR,
    REHEARSED,
    replace(SENSOR, name="rehearsed .5, twice the steps", train=rehearsed(0.5), steps=2),
    replace(SENSOR, name="rehearsed .25, twice the steps", train=rehearsed(0.25), steps=2),
    replace(REHEARSED, name="many kinds of questions, rehearsed .25", lessons=("many", "pairs")),
    replace(SENSOR, name="rehearsed .5", train=rehearsed(0.5)),
    replace(SENSOR, name="rehearsed .25, weight 3", train=rehearsed(0.25, 3.0)),
    replace(SENSOR, name="rehearsed .25, reference signal", train=rehearsed(0.25, reference="signal")),
    replace(SENSOR, name="rehearsed .25, prompts written", train=rehearsed(0.25, prompts="written")),
    replace(SENSOR, name="rehearsed .25, 8 tokens", train=rehearsed(0.25, tokens=8)),
    replace(SENSOR, name="many kinds of questions", lessons=("many", "pairs")),
    replace(SENSOR, name="not rehearsed, twice the steps", steps=2),
)
