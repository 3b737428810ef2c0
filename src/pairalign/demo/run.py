"""Make the world, train on pairs of image–text, image–touch and text–points, measure every edge.

Everything here is synthetic. Where it bites: no object is ever seen by more than two sensors in training; the pools
that measure emergent edges show each object to all four.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pairalign.align.run import align_pairs
from pairalign.config import AlignConfig, load_config
from pairalign.data.encode import ImageFormat
from pairalign.data.graph import edge_name
from pairalign.data.pack import pack_pairs
from pairalign.data.world import VISIBLE, World, pairs, pool
from pairalign.errors import ConfigError
from pairalign.evaluate.run import Evaluation, evaluate_run

POINTS = {"unit": "m", "axes": ("point", "coordinate")}


@dataclass(frozen=True)
class DemoSize:
    """Pairs of each edge, objects of each held-out pool, optimizer steps."""

    train: int = 6000
    pool: int = 1000
    steps: int = 600


FAST = DemoSize(train=512, pool=128, steps=12)


def run_demo(
    out: str | Path = "demo",
    *,
    size: DemoSize | None = None,
    seed: int = 0,
    overrides: tuple[str, ...] = (),
    progress: bool = True,
    workers: int = 2,
) -> Evaluation:
    """Run the whole demo into the folder `out`; a second call goes on where the first was stopped."""
    out, size = Path(out), size or DemoSize()
    if out.exists() and any(out.iterdir()) and not (out / "pairs").exists():
        raise ConfigError(f"out={str(out)!r} holds something else: give an empty or new folder with --out.")
    config = demo_config(out, size, seed, overrides)
    make_world(out / "pairs", config, size, seed=seed, progress=progress, workers=workers)
    run = align_pairs(config, progress=progress)
    splits = ["test", "novel"]
    return evaluate_run(
        run, out / "pairs" / "pool", split=splits, out=out, visible=VISIBLE, seed=seed, progress=progress
    )


def demo_config(out: Path, size: DemoSize, seed: int, overrides: tuple[str, ...] = ()) -> AlignConfig:
    """The packaged demo.yaml, in the folder `out`."""
    import yaml

    values = yaml.safe_load(files("pairalign.demo").joinpath("demo.yaml").read_text("utf-8"))
    config = load_config(AlignConfig, values, overrides)
    train = replace(config.train, steps=size.steps) if size != DemoSize() else config.train
    data = replace(config.data, root=str(out / "pairs"))
    return replace(config, out=str(out / "run"), seed=seed, train=train, data=data)


def make_world(
    folder: Path, config: AlignConfig, size: DemoSize, *, seed: int, progress: bool, workers: int = 1
) -> None:
    """Pack the training pairs of every edge and one pool that every sensor sees; keeps what is there already."""
    world = World(seed=seed)
    for edge in config.edges:
        rows = pairs(world, edge.between, size.train, "train")
        _pack(rows, folder / edge_name(edge.between), progress, workers)
    held_out = (row for split in ("test", "novel") for row in pool(world, size.pool, split))
    _pack(held_out, folder / "pool", progress, workers)


def _pack(rows: Iterator[dict[str, Any]], folder: Path, progress: bool, workers: int) -> None:
    if (folder / "index.json").exists():
        return
    first = next(rows)

    def again() -> Iterator[dict[str, Any]]:
        yield first
        yield from rows

    names = [name for name in VISIBLE if name in first]
    pack_pairs(
        again(),
        folder,
        modalities=names,
        units={"points": POINTS} if "points" in names else None,
        image=ImageFormat("png"),
        workers=workers,
        shard_samples=1000,
        progress=progress,
        synthetic=True,
        licence="Apache-2.0",
    )


def figures(evaluation: Evaluation) -> dict[str, float]:
    """The demo's figures in one flat dict: the worst edge of each kind, the controls, and the private probe."""
    found: dict[str, float] = {}
    for split, record in ((name.split("/")[-1], r) for name, r in evaluation.metrics["pools"].items()):
        for status in ("trained", "emergent"):
            scores = [
                score.value
                for pair in record["pairs"].values()
                if pair["status"] == status and "all" in pair["agreement"]
                for score in pair["agreement"]["all"].values()
            ]
            found[f"{split}: worst {status} edge, top-1 on shared factors"] = min(scores)
        control = record["pairs"].get("text-touch") or record["pairs"]["touch-text"]
        for way, score in control["agreement"]["each"]["hardness"].items():
            found[f"{split}: hardness over touch–text, {way}"] = score.value
            found[f"{split}: chance of it, {way}"] = score.chance
        probe = record["probes"]["touch"]["private"]["hardness"]
        found[f"{split}: hardness from touch's private part"] = probe.accuracy.value
    return found
