"""Make the world, train on pairs of image–text, image–touch and text–points, measure every edge;
then let a small language model learn to read touches and points.

Everything here is synthetic.

Note:
    No object is ever seen by more than two sensors in training; the pools that measure emergent edges show each object
    to all four.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pairalign.align.run import align_pairs
from pairalign.core.arguments import checked
from pairalign.core.bounds import Count, Whole
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.data.encode import ImageFormat
from pairalign.data.graph import edge_name
from pairalign.data.pack import pack_pairs
from pairalign.data.world import VISIBLE, World, pairs, pool
from pairalign.demo.drawings import add_drawings
from pairalign.demo.stage_two import FAST_LESSONS, LessonSize, lesson_figures, teach
from pairalign.demo.stage_two_page import write_page
from pairalign.evaluate.report import write_metrics
from pairalign.evaluate.run import Evaluation, evaluate_run
from pairalign.export.sensor_pack import export_pack
from pairalign.files import check_writable, replacing
from pairalign.finetune.run import RecomposeRun
from pairalign.runs.folder import LOCK
from pairalign.runs.lock import alone_at_out

POINTS = {"unit": "m", "axes": ("point", "coordinate")}


@dataclass(frozen=True)
class DemoSize:
    """Pairs of each edge, objects of each held-out pool, optimizer steps; `lessons` of stage two, or none."""

    train: int = 6000
    pool: int = 1000
    steps: int = 600
    lessons: LessonSize | None = field(default_factory=LessonSize)


FAST = DemoSize(train=512, pool=128, steps=12, lessons=FAST_LESSONS)


@dataclass(frozen=True)
class Demo:
    """What the demo made: stage one's evaluation, stage two's runs by method, and its page."""

    evaluation: Evaluation
    lessons: dict[str, RecomposeRun]
    page: Path | None


@checked()
@alone_at_out
def run_demo(
    out: str | Path = "demo",
    *,
    size: DemoSize | None = None,
    seed: Whole = 0,
    overrides: tuple[str, ...] = (),
    device: str | None = None,
    progress: bool = True,
    workers: Count = 2,
) -> Demo:
    """Run the whole demo into the folder `out`; a second call goes on where the first was stopped.

    device: where both stages compute, see `find_device`; by default where demo.yaml says.
    Writes report.html, stage_two.html, metrics.json, a sensor pack and, in short, figures.json there.
    """
    out, size = Path(out), size or DemoSize()
    check_writable(out, "give --out (`out`) another folder")
    if out.exists() and {path.name for path in out.iterdir()} - {LOCK} and not (out / "pairs").exists():
        raise ConfigError(f"out={str(out)!r} holds something else: give an empty or new folder with --out.")
    config = demo_config(out, size, seed, overrides)
    if device is not None:
        config = replace(config, train=replace(config.train, accelerator=device))
    make_world(out / "pairs", config, size, seed=seed, progress=progress, workers=workers)
    run = align_pairs(config, progress=progress)
    splits = ["test", "novel"]
    held = out / "pairs" / "pool"
    draw = partial(add_drawings, pairs=held, out=out / "drawings", seed=seed, progress=progress)
    found = evaluate_run(run, held, split=splits, out=out, visible=VISIBLE, seed=seed, progress=progress, add=draw)
    if size.lessons is None:
        write_metrics(out / "figures.json", figures(found))
        return Demo(found, {}, None)
    where = config.train.accelerator
    lessons = teach(out, size.lessons, seed=seed, device=where, progress=progress, workers=workers)
    page = write_page(lessons, out / "stage_two.html")
    if not (out / "pack").exists():
        export_pack(lessons["dormant"], out / "pack")
    if not (out / "touch.png").exists():
        sample = World(seed=seed + 1).sample(0, None, ("touch",))
        with replacing(out / "touch.png") as new:
            sample["touch"].save(new, "png")
    write_metrics(out / "figures.json", {**figures(found), **lesson_figures(lessons)})
    return Demo(found, lessons, page)


def demo_config(out: Path, size: DemoSize, seed: int, overrides: tuple[str, ...] = ()) -> AlignConfig:
    """The packaged demo.yaml, in the folder `out`."""
    import yaml

    values = yaml.safe_load(files("pairalign.demo").joinpath("demo.yaml").read_text("utf-8"))
    config = load_config(AlignConfig, values, overrides)
    train = replace(config.train, steps=size.steps) if size.steps != DemoSize.steps else config.train
    data = replace(config.data, root=str(out / "pairs"))
    return replace(config, out=str(out / "run"), seed=seed, train=train, data=data)


def make_world(
    folder: Path, config: AlignConfig, size: DemoSize, *, seed: int, progress: bool, workers: int = 1
) -> None:
    """Pack the training pairs of every edge and one pool that every sensor sees, each in a process of its own.

    What is there already is kept.
    """
    jobs: list[tuple[Path, int, tuple[str, str] | None, int]] = [
        (folder / edge_name(edge.between), seed, edge.between, size.train) for edge in config.edges
    ]
    jobs.append((folder / "pool", seed, None, size.pool))
    jobs = [job for job in jobs if not (job[0] / "index.json").exists()]
    if not jobs:
        return
    with tqdm(total=len(jobs), desc="render the world", unit="set", disable=not progress) as bar:
        if workers < 2:
            for job in jobs:
                _pack(*job)
                bar.update()
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
            for done in as_completed([processes.submit(_pack, *job) for job in jobs]):
                done.result()
                bar.update()


def _pack(folder: Path, seed: int, edge: tuple[str, str] | None, count: int) -> None:
    """Render and pack the training pairs of one edge, or without one the pools that all sensors see."""
    world = World(seed=seed)
    rows: Iterator[dict[str, Any]]
    if edge is None:
        names = list(VISIBLE)
        rows = (row for split in ("test", "novel") for row in pool(world, count, split))
    else:
        names = list(edge)
        rows = pairs(world, edge, count, "train")
    pack_pairs(
        rows,
        folder,
        modalities=names,
        units={"points": POINTS} if "points" in names else None,
        image=ImageFormat("png"),
        progress=False,
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
