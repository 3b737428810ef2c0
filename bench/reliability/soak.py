"""Long use: a million tiny samples through the datasets, a thousand requests to one model, twenty runs in one process.

    python bench/faults.py soak --count 1000000 --out reliability

Each arm works in a process of its own. What is watched is in `gauge`: memory (PSS, workers included) stays within
1.02 × of what it was after warm-up, the floor of descriptors does not rise, threads never exceed those of the warm-up,
and all are given back at the end. Arms are kept in work/soak/arms.jsonl: whoever calls it again goes on there; delete
the folder after the code was changed.

Note:
    Base and packs are tiny, so that 2 % are some 10 MiB; `bytes a unit` and the objects that grew tell of smaller
    leaks.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reliability import asking, loading
from reliability.gauge import PROMISES, faults
from reliability.series import draw

COUNT = 1_000_000
Arm = Callable[[Path, int, int], dict[str, Any]]


def arms(count: int) -> Iterator[tuple[str, Arm, int]]:
    """Name, work, and units of each arm, for `count` samples through stage one's dataset."""
    yield "stage one, 0 workers", partial(loading.stage_one, workers=0), count // 2
    yield "stage one, 2 workers", partial(loading.stage_one, workers=2), count // 2
    yield "stage one, from a web server", loading.remote, count // 10
    yield "stage two, 0 workers", partial(loading.stage_two, workers=0), count // 20
    yield "stage two, 2 workers", partial(loading.stage_two, workers=2), count // 20
    yield "requests", asking.requests, count // 1000
    yield "runs in one process", asking.runs, count // 50_000


def measure(work: Path, count: int, seed: int) -> dict[str, Any]:
    """Every arm, one after the other; `count` samples through stage one's dataset, the others in proportion."""
    found: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    chosen, kept = list(arms(count)), _kept(work / "arms.jsonl", count, seed)
    for number, (name, arm, units) in enumerate(tqdm(chosen, desc="soak", unit="arm")):
        try:
            found[name] = kept.get(name) or _alone(arm, work / str(number), max(units, 10), seed)
            failures += faults(name, found[name])
            if name not in kept:
                with (work / "arms.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"arm": name, "count": count, "seed": seed, "found": found[name]}) + "\n")
        except Exception as error:
            failures += [f"{name}: {type(error).__name__}: {error}"] * PROMISES
    picture = work / "memory.png"
    readings = {name: one.pop("readings") for name, one in found.items()}
    draw(readings, picture)
    (work / "readings.json").write_text(json.dumps({"readings": readings, "found": found}, indent=1), encoding="utf-8")
    return {
        "section": "soak",
        "what": "memory within 1.02 × of that after warm-up; descriptors and threads as in the warm-up, and given back",
        "tried": PROMISES * len(chosen),
        "held": PROMISES * len(chosen) - len(failures),
        "failures": failures,
        "settings": {"samples": count, "cores": os.cpu_count(), "promises an arm": PROMISES},
        "rows": [_row(name, one) for name, one in found.items()],
        "picture": str(picture.relative_to(work.parents[1])),  # as seen from the record
    }


def _kept(path: Path, count: int, seed: int) -> dict[str, dict[str, Any]]:
    """What an earlier call found, by arm; half a line of one that was killed is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    return {one["arm"]: one["found"] for one in told if (one["count"], one["seed"]) == (count, seed)}


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """An arm as a row of the table: what was held after warm-up, and later at most."""
    opened, running = found["descriptors"], found["threads"]
    return {
        "arm": name,
        "units": found["done"],
        "MiB after warm-up": found["memory MiB after warm-up"],
        "later, at most": f"{found['memory']:.3f} ×",
        "bytes a unit": found["bytes a unit"],
        "descriptors, warm-up → later": f"{opened['warm-up']} → {opened['later']}",
        "threads": f"{running['warm-up']} → {running['later']}",
        "left": sum(found["left"][what] - found[what]["before"] for what in ("descriptors", "threads")),
    }


def _alone(arm: Arm, work: Path, units: int, seed: int) -> dict[str, Any]:
    """What an arm finds in a process of its own."""
    shutil.rmtree(work, ignore_errors=True)  # what a call that was killed has left
    work.mkdir(parents=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(arm, work, units, seed).result()
