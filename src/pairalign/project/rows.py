"""Made-up recordings of a sensor with the picture or sentence that belongs to each, from the built-in world.

Note:
    Synthetic, and easy. They show what a row looks like and let every command run; what a sensor of yours can tell they
    do not show.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.data.world import FACTORS, VISIBLE, World
from pairalign.demo.lessons import draw_factors
from pairalign.demo.questions import ask, describe

FELT = {"points": ("shape", "size")}  # what a made-up signal tells, by kind; all others:
OTHERS = ("texture", "hardness")
RENDERED = {"image": "touch", "points": "points"}  # kinds that the world itself has, by what it calls them
HELD = 0.15  # share of rows in split val, and in split test
SEED = 7001


def recordings(folder: Path, name: str, kind: str, partner: str, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows for a manifest beside `folder`, into which their files are written: the signal under `name`, its `partner`,
    a sentence and a question about what was felt, and the answer."""
    world, draw = World(seed=SEED + seed, normals=False), random.Random(f"recordings {seed}")
    shown = RENDERED.get(kind)
    for number in range(count):
        factors = draw_factors(draw)
        about = FELT.get(kind, OTHERS)[number % 2]
        sample = world.sample(number, factors, [*([shown] if shown else []), partner])
        signal = sample[shown] if shown else MADE[kind](factors, np.random.default_rng([SEED, seed, number]))
        file = _write(folder, f"{number:04d}-{name}", signal)
        asked = ask("touch", about, factors)
        yield {
            "key": f"{number:04d}",
            name: file,
            "text": describe(shown or "touch", factors).answer,
            partner: _partner(folder, f"{number:04d}-{partner}", sample[partner]),
            "question": asked.question,
            "answer": asked.answer,
            "label": factors[about],
            "split": split_of(number, count),
        }


def abilities(folder: Path, partner: str, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of what the model can do before: questions about pictures or sentences, which it must not unlearn."""
    world, draw = World(seed=SEED + 1 + seed), random.Random(f"abilities {seed}")
    kinds = VISIBLE["image"]
    for number in range(count):
        factors = draw_factors(draw)
        sample, asked = world.sample(number, factors, [partner]), ask(partner, kinds[number % len(kinds)], factors)
        yield {
            "key": f"{number:04d}",
            partner: _partner(folder, f"{number:04d}-asked", sample[partner]),
            "question": asked.question,
            "answer": asked.answer,
            "split": split_of(number, count),
        }


def split_of(number: int, count: int) -> str:
    """The last rows are "test", those before them "val", the rest "train"."""
    held = max(2, round(HELD * count))
    return "test" if number >= count - held else "val" if number >= count - 2 * held else "train"


def _partner(folder: Path, name: str, value: Any) -> str:
    return value if isinstance(value, str) else _write(folder, name, value)


def _write(folder: Path, name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        np.save(folder / f"{name}.npy", value)
        return f"{folder.name}/{name}.npy"
    value.save(folder / f"{name}.png")
    return f"{folder.name}/{name}.png"


def _grip(factors: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    """Kilopascal of 4 × 4 taxels over 100 hundredths of a second: a hard thing presses more, a rough one shakes."""
    time = np.linspace(0, 1, 100)
    begin, end = rng.uniform(0, 0.25), rng.uniform(0.75, 1)
    press = np.sin(np.pi * np.clip((time - begin) / (end - begin), 0, 1)) * _where(4, rng)[:, None]
    hardness, texture = (FACTORS[name].index(factors[name]) for name in OTHERS[::-1])
    shake = 0.1 * texture * np.sin(2 * np.pi * ((4 + 6 * texture) * time + rng.uniform(0, 1, (16, 1))))
    drift = np.cumsum(rng.normal(0, 0.1, (16, 100)), 1)  # as taxels have, each its own
    return ((2 + 3 * hardness) * press * (1 + shake) + drift).astype(np.float32)


def _forces(factors: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    """Newton at 4 × 4 places, and how they shake, two numbers for each row of them: a hard thing presses more."""
    hardness, texture = (FACTORS[name].index(factors[name]) for name in OTHERS[::-1])
    shake = np.repeat([texture, 4 - texture], 4) * rng.uniform(0.8, 1.2, 8)
    return np.concatenate([(2 + 3 * hardness) * _where(4, rng), shake]).astype(np.float32)


def _where(side: int, rng: np.random.Generator) -> np.ndarray:
    """How firmly each of side × side places is touched, 0 to 1: a hand is never put down twice alike."""
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    return np.exp(-((places - rng.uniform(0, side - 1, 2)) ** 2).sum(1) / rng.uniform(2, 8)) * rng.uniform(0.8, 1.2)


MADE = {"series": _grip, "vector": _forces}
