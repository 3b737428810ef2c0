"""Small data and configurations, and the command of every verb that writes, for `disk.py`.

Note:
    A command runs in the folder that gets full; what it names as `{data}` lies elsewhere, and so does `{roomy}`, for
    what is written beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.registry import load_plugin
from pairalign.data.pack import pack_pairs
from pairalign.data.world.factors import FACTORS
from pairalign.demo.base import build_base, build_processor
from pairalign.demo.lessons import pack_lessons
from pairalign.demo.run import DemoSize, demo_config, make_world
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import recompose_mllm

VECTOR = '''
from torch import nn

from pairalign import Encoder, Features, Signal, register_encoder


@register_encoder("six_forces")
class SixForces(Encoder):
    """Six forces."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.signal = Signal("vector", (6,), unit="N")
        self.net = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
'''


@dataclass(frozen=True)
class Verb:
    """A command. words: of it, with places in braces. share: of the moments that are tried. environment: variables,
    likewise. notes: starts of lines that it may say besides."""

    name: str
    words: tuple[str, ...]
    share: float = 1.0
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def verbs(address: str) -> list[Verb]:
    """Every verb that writes. address: where the shards of `{data}/remote` are served."""
    q = "--quiet"
    pack = ("data", "pack", "{data}/manifest/m.jsonl", "shards", "--shard-samples", "40", q)
    shown = ("--calibration", "{data}/two/lessons/image", "--prompt", "{{image}} {{question}}", "--count", "8")
    asked = ("--pairs", "{data}/two/lessons/touch", "--split", "val", "--prompt", "{{touch}} {{question}}")
    sized = (
        "--tokens",
        "2",
        "--batch-size",
        "4",
        "--limit",
        "12",
        "--reference",
        "{{answer}}",
        "--vocabulary",
        "{data}/words",
    )
    pool = ("--pairs", "{data}/pairs/a-b", "--split", "val", "--limit", "24")
    unkept = ("what the base answers is not kept: ", "the base is measured anew, for it cannot be told from others: ")
    return [
        Verb("pack", pack),
        Verb("pack, two workers", (*pack, "--workers", "2"), 0.3),
        Verb(
            "convert", ("data", "convert", "modelnet40", "{data}/modelnet", "-o", "shards", "--shard-samples", "40", q)
        ),
        Verb("index", ("data", "index", "{data}/strange", "--out", "index", q)),
        Verb(
            "remote shards",
            ("data", "inspect", address, "--out", "sheet.png", "--samples", "2", q),
            1.0,
            {"PAIRALIGN_CACHE": "kept"},
        ),
        Verb("align", ("align", "{data}/align.yaml", q)),
        Verb("align, cache elsewhere", ("align", "{data}/align.yaml", "cache={roomy}/cache", q)),
        Verb("align, cache alone", ("align", "{data}/align.yaml", "out={roomy}/run", "cache=cache", q)),
        Verb("evaluate", ("evaluate", "{data}/one", *pool, "--out", "found", q)),
        Verb("score, matrices", ("score", "{data}/two/base", "--method", "random", *shown, "--out", "scores", q)),
        Verb("score, factors", ("score", "{data}/two/base", "--method", "wanda", *shown, "--out", "scores", q), 0.3),
        Verb("recompose", ("recompose", "{data}/two.yaml", "score_cache=scores", "cache=cache", q), notes=unkept),
        Verb("export", ("export", "{data}/taught", "pack")),
        Verb("export --merge", ("export", "{data}/taught", "pack", "--merge")),
        Verb("describe", ("describe", "{data}/taught", *asked, *sized, "--out", "said", q)),
        Verb(
            "demo",
            ("demo", "--fast", "--out", "demo", "--workers", "1", "--device", "cpu", q, "train.batch_size=16"),
            0.2,
            notes=unkept,
        ),
    ]


def make(data: Path) -> None:
    """Everything that the verbs read, in the folder `data`."""
    data.mkdir(parents=True)
    (data / "six_forces.py").write_text(VECTOR)
    (data / "words").write_text("\n".join(word for values in FACTORS.values() for word in values))
    _manifest(data / "manifest")
    _modelnet(data / "modelnet")
    force = np.random.default_rng(1).normal(size=(600, 600)).astype(np.float32)
    rows = [{"key": f"{n:05d}", "force": force[n], "text": f"push {n}"} for n in range(600)]
    for name in ("strange", "remote"):
        pack_pairs(rows, data / name, shard_samples=40, progress=False)
    (data / "strange" / "index.json").unlink()
    _stage_one(data)
    _stage_two(data)


def _manifest(folder: Path, count: int = 240) -> None:
    folder.mkdir()
    rng, lines = np.random.default_rng(0), []
    for n in range(count):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{n}.jpg")
        np.save(folder / f"{n}.npy", rng.normal(size=(16, 16)).astype(np.float32))
        lines.append(json.dumps({"key": f"k{n}", "image": f"{n}.jpg", "touch": f"{n}.npy", "text": f"caption {n}"}))
    (folder / "m.jsonl").write_text("\n".join(lines))


def _modelnet(folder: Path, count: int = 160) -> None:
    folder.mkdir()
    rng, names = np.random.default_rng(0), {"train": list[str](), "test": list[str]()}
    (folder / "modelnet40_shape_names.txt").write_text("chair\nbed\n")
    for n in range(count):
        name = f"{('chair', 'bed')[n % 2]}_{n:04d}"
        names["test" if n % 5 == 0 else "train"].append(name)
        path = folder / name.partition("_")[0] / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        np.savetxt(path, rng.normal(size=(64, 6)), delimiter=",", fmt="%.6f")
    for split, found in names.items():
        (folder / f"modelnet40_{split}.txt").write_text("\n".join(found) + "\n")


def _stage_one(data: Path) -> None:
    for one, other in ("ab", "bc"):
        rng, rows = np.random.default_rng(ord(one)), []
        for n in range(280):
            shared, split = rng.normal(size=3), "train" if n < 240 else "val"
            sides = {end: np.concatenate([shared, rng.normal(size=3)]).astype(np.float32) for end in (one, other)}
            rows.append({"key": f"{n:05d}", **sides, "split": split, "label": {"sign": int(shared[0] > 0)}})
        units = {end: {"unit": "N"} for end in (one, other)}
        pack_pairs(rows, data / "pairs" / f"{one}-{other}", units=units, progress=False)
    told: dict[str, Any] = {
        "modalities": {end: {"encoder": "six_forces"} for end in "abc"},
        "edges": [{"between": list(edge), "shards": "-".join(edge)} for edge in ("ab", "bc")],
        "out": "run",
        "latent": {"shared": 16, "private": 8, "hidden": 64},
        "train": {"steps": 24, "batch_size": 16, "warmup": 2, "checkpoint_every": 8, "validate_every": 8},
        "data": {"root": str(data / "pairs"), "shuffle": 50},
        "plugins": [str(data / "six_forces.py")],
    }
    told["modalities"]["b"] |= {"tune": "none", "views": 6}
    told["train"] |= {"accelerator": "cpu", "threads": 1}
    (data / "align.yaml").write_text(yaml.safe_dump(told))
    load_plugin(str(data / "six_forces.py"))
    short = {**told, "out": str(data / "one"), "train": {**told["train"], "steps": 2, "validate_every": 0}}
    align_pairs(load_config(AlignConfig, short), progress=False)


def _stage_two(data: Path) -> None:
    home = data / "two"
    torch.manual_seed(0)
    build_base(width=32, layers=2, vision_layers=1).save_pretrained(home / "base")
    build_processor().save_pretrained(home / "base")
    size = DemoSize(train=64, pool=8, steps=2)
    config = demo_config(home / "demo", size, 0, ("train.batch_size=16", "train.accelerator=cpu"))
    make_world(home / "demo" / "pairs", config, size, seed=0, progress=False)
    align_pairs(config, progress=False)
    for name in ("touch", "image"):
        pack_lessons(home / "lessons", name, {"train": 48, "val": 24})
    touch = {"shards": "lessons/touch", "prompt": "{touch} {question}", "answer": "{answer}"}
    image = {"shards": "lessons/image", "prompt": "{image} {question}", "answer": "{answer}"}
    told: dict[str, Any] = {
        "base": str(home / "base"),
        "root": str(home),
        "out": "run",
        "sensors": {"touch": {"run": "demo/run", "tokens": 2}},
        "tasks": {"touch": touch},
        "validation": {"touch": {**touch, "split": "val"}},
        "held_out": {"image": {**image, "split": "val"}},
        "calibration": {"pictures": image},
        "calibration_size": 16,
        "dormant": {"score": "splash", "structure": "rows", "density": 0.25},
        "train": {"steps": 6, "batch_size": 8, "validate_every": 3, "checkpoint_every": 2, "warmup": 1},
    }
    told["train"] |= {"accelerator": "cpu", "threads": 1, "lr": 0.01, "measure_tokens": 2}
    (data / "two.yaml").write_text(yaml.safe_dump(told))
    recompose_mllm(load_config(RecomposeConfig, {**told, "out": str(data / "taught")}), progress=False)
