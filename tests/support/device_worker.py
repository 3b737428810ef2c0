"""Every verb of both stages on the second device, in a process of its own: `python device_worker.py SETUP OUT NAMES…`.

Prints JSON: by verb its exit code, how many modules ran on the mirror, and which ran elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import mirror
import torch
import yaml
from stage_two import TOUCH, values

TRAIN = {"steps": 2, "batch_size": 8, "warmup": 1, "accelerator": "gpu"}


def commands(setup: Path, out: Path) -> dict[str, list[str]]:
    """Every verb that computes, in order; configurations say `accelerator: gpu`, other verbs get --device."""
    one, two = str(_write(out / "align.yaml", _align(setup, out))), str(_write(out / "two.yaml", _two(setup, out)))
    lessons, here = setup / "lessons", ["--device", "mirror"]
    base, pack, touch = ["--base", str(setup / "base")], str(out / "pack"), out / "touch.png"
    shown = ["--calibration", str(lessons / "image"), "--prompt", "{image} {question}", "--count", "8"]
    asked = ["--prompt", TOUCH["prompt"], "--reference", "{answer}", "--split", "val", "--limit", "2", "--tokens", "2"]
    reused = ["method=bridge", "train.steps=0", "sensors.touch.bridge=recomposition"]
    reused += ["sensors.touch.images=demo/pairs/image-touch", "sensors.touch.image_count=16"]
    return {
        "encoders check": ["encoders", "check", "touch_cnn", "size=16", "channels=4", *here],
        "plan": ["plan", one, *here],
        "align": ["align", one],
        "evaluate": ["evaluate", str(out / "run"), "--pairs", str(setup / "demo/pairs/pool"), *here],
        "score": ["score", str(setup / "base"), *shown, "--out", str(out / "s"), *here],
        "score dowser": ["score", str(setup / "base"), *shown, "--method", "dowser", "--option", "probes=1",
                         "--out", str(out / "d"), *here],
        "dry-run": ["recompose", two, "--dry-run"],
        "recompose": ["recompose", two, "--max-forgetting", "100"],
        "directions": ["recompose", two, f"out={out / 'turned'}", "dormant.structure=directions",
                       "dormant.score=random"],
        "lora": ["recompose", two, f"out={out / 'lora'}", "method=lora"],
        "ewc": ["recompose", two, f"out={out / 'ewc'}", "method=ewc"],
        "recomposition": ["recompose", two, f"out={out / 'reused'}", *reused],
        "export": ["export", str(out / "taught"), pack, "--merge", *here],
        "describe": ["describe", pack, *base, "--pairs", str(lessons / "touch"), *asked, *here],
        "ask": ["ask", pack, *base, "--touch", str(touch), "is it soft?", "--tokens", "2", *here],
    }  # fmt: skip


def _align(setup: Path, out: Path) -> dict[str, Any]:
    """A cached tower with views, another whose features feed an anchor head, and a trained encoder."""
    return {
        "modalities": {
            "image": {"encoder": "openclip_image", "options": {"config": "tiny"}, "tune": "none", "views": 2,
                      "head": "anchor"},
            "text": {"encoder": "openclip_text", "options": {"config": "tiny"}, "tune": "none"},
            "touch": {"encoder": "touch_cnn", "options": {"size": 16, "channels": 4}},
        },
        "edges": [{"between": ["image", "text"], "shards": "image-text"},
                  {"between": ["image", "touch"], "shards": "image-touch"}],
        "out": str(out / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 16},
        "train": TRAIN,
        "data": {"root": str(setup / "demo/pairs"), "val_split": None},
    }  # fmt: skip


def _two(setup: Path, out: Path) -> dict[str, Any]:
    sensors = {"touch": {"run": str(out / "run"), "tokens": 2}}
    train = {**TRAIN, "validate_every": 1, "measure_with_signals": True}
    return values(setup, out / "taught", sensors=sensors, tasks={"touch": TOUCH}, calibration_size=8, train=train)


def _write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def main(setup: Path, out: Path, names: list[str]) -> None:
    """Run the named verbs, or all."""
    from pairalign.cli.main import main as pairalign
    from pairalign.data.world import World

    mirror.register()
    torch.manual_seed(0)
    World(seed=1).sample(0, None, ("touch",))["touch"].save(out / "touch.png")
    found = {}
    for name, words in commands(setup, out).items():
        if names and name not in names:
            continue
        with mirror.watched() as seen, contextlib.redirect_stdout(io.StringIO()):
            code = pairalign(words)
        ran = sum(count for what, count in seen.items() if what.endswith(" mirror"))
        elsewhere = {what: count for what, count in seen.items() if not what.endswith(" mirror")}
        found[name] = {"code": code, "ran": ran, "elsewhere": elsewhere}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
