"""One model that is asked a thousand times, its packs taken away and put back meanwhile; whole runs, one after another.

Note:
    The base is the demo's, with random weights, so that what it says means nothing; the same questions come again and
    again, as a robot asks them, with touches that are new each time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stage_two import TOUCH, make_setup, settings, short_run
from tqdm import tqdm

import pairalign as pa
from pairalign.core.errors import PairalignError
from pairalign.data.world import World
from pairalign.demo.run import DemoSize, demo_config
from pairalign.export.sensor_pack import export_pack, install_pack, load_sensor_model, uninstall_pack
from pairalign.files import remove
from pairalign.sensors.answer import ask_model
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor
from reliability.gauge import Watch

WORDS = ["is it soft", "how hard is it", "what texture has the surface ?"]
ROWS: dict[str, Any] = {"structure": "rows", "density": 0.2}
BEHIND, ALWAYS = {"score": "splash", **ROWS}, {"score": "splash", **ROWS, "acts": "always"}
POINTS = {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}
AGAIN = {**TOUCH, "signals": {"touch": "again"}}
PACKS: dict[str, dict[str, Any]] = {  # settings of short runs; `again` would change everywhere what `touch` owns
    "touch": {"dormant": BEHIND},
    "points": {
        "sensors": {"points": {"run": "demo/run", "bridge": "resampler", "tokens": 3}},
        "tasks": {"points": POINTS},
        "validation": {"points": {**POINTS, "split": "val"}},
        "dormant": BEHIND,
    },
    "again": {
        "sensors": {"again": {"run": "demo/run", "modality": "touch", "tokens": 2}},
        "tasks": {"again": AGAIN},
        "validation": {"again": {**AGAIN, "split": "val"}},
        "dormant": ALWAYS,
    },
}


def make_packs(work: Path, *names: str) -> tuple[Path, list[Path]]:
    """A base, and packs by name, made anew in `work`."""
    setup, packs = make_setup(work / "setup"), []
    for name in names:
        run = short_run(setup, work / "runs" / name, **PACKS[name])
        remove(work / "packs" / name)
        packs.append(export_pack(run, work / "packs" / name))
    return setup / "base", packs


def requests(work: Path, total: int, seed: int) -> dict[str, Any]:
    """Questions with and without sensors and pictures, sampled, greedy and with beams; every tenth time a pack goes and
    comes back, and a question that is refused is asked."""
    torch.set_num_threads(1)
    base, packs = make_packs(work, "touch", "points")
    model, processor = load_sensor_model(str(base), packs)
    world = World(seed=seed)
    watch = Watch(total)
    for n in tqdm(range(total), unit="request", leave=False):
        _ask(model, processor, n, world)
        if n % 10 == 9:
            _change(model, processor, packs[n // 10 % 2])
        watch(n + 1)
    del model, processor
    return watch.finish()


def _ask(model: SensorModel, processor: SensorProcessor, n: int, world: World) -> None:
    found = world.sample(n, None, ("touch", "points", "image"))
    touch, cloud = {"touch": [found["touch"]]}, {"points": [found["points"]]}
    signals: dict[str, list[Any]] = ({}, touch, cloud, {**touch, **cloud})[n % 4]
    options: dict[str, Any] = ({}, {"num_beams": 3}, {"do_sample": True}, {"use_cache": False})[n // 4 % 4]
    images = [found["image"]] if n % 3 == 0 else []
    ask_model(model, processor, WORDS[n % len(WORDS)], images=images, signals=signals, tokens=6, **options)


def _change(model: SensorModel, processor: SensorProcessor, pack: Path) -> None:
    """Refused twice, then taken away and put back."""
    for wrong in (lambda: install_pack(model, processor, pack), lambda: ask_model(model, processor, "{touch} soft ?")):
        try:
            wrong()
        except PairalignError:
            continue
        raise AssertionError("what should be refused was not")
    uninstall_pack(model, processor, pack.name)
    ask_model(model, processor, WORDS[0], tokens=2)
    install_pack(model, processor, pack)


def runs(work: Path, total: int, seed: int) -> dict[str, Any]:
    """Runs of both stages in one process, as a notebook makes them, with loader workers."""
    torch.set_num_threads(1)
    setup = make_setup(work / "setup")
    size = DemoSize(train=64, pool=8, steps=2)
    watch = Watch(total)
    for n in tqdm(range(total), unit="run", leave=False):
        config = demo_config(work / f"align-{n}", size, seed, ("train.batch_size=16", "data.workers=1"))
        config = replace(config, data=replace(config.data, root=str(setup / "demo" / "pairs")))
        pa.align_pairs(config, progress=False)
        short = {"steps": 2, "batch_size": 8, "validate_every": 2, "warmup": 1, "accelerator": "cpu"}
        pa.recompose_mllm(settings(setup, work / f"recompose-{n}", train=short), progress=False)
        watch(n + 1)
    return watch.finish()
