"""Runs of `bench/front.py`: the questions, and every run in processes of one thread each.

Note:
    What is finished is read again instead of taught again, so that a bench that was stopped goes on; the time that is
    left is guessed from the runs that this call taught.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fronts.arms import Arm, settings
from fronts.choice import Found

SIZES = {"touch": 1500, "touch_pairs": 1500, "image": 120, "text": 120, "words": 0}
HELD = {"touch": 240, "touch_pairs": 240, "image": 250, "text": 240, "words": 100}


def pack(out: Path) -> None:
    """Questions for training and measuring."""
    from pairalign.demo.lessons import pack_lessons

    for name, count in SIZES.items():
        pack_lessons(out / "lessons", name, {"train": count, "val": HELD[name]} if count else {"val": HELD[name]})


def run_one(values: dict[str, Any]) -> dict[str, Any]:
    """Train and measure in this process; a run that went non-finite counts as having learned nothing."""
    from pairalign import RecomposeConfig, load_config, recompose_mllm
    from pairalign.core.errors import DataError

    start, finished = time.perf_counter(), Path(values["out"]) / "results.json"
    if finished.exists():
        return dict(json.loads(finished.read_text()))
    try:
        results = recompose_mllm(load_config(RecomposeConfig, values), progress=False).results
    except DataError as error:
        if " became " not in str(error):  # anything but a loss or weights that became infinite or NaN
            raise
        return {"failed": str(error)}
    return {**results, "seconds": time.perf_counter() - start}


def run_all(jobs: Sequence[tuple[Arm, float, int]], args: argparse.Namespace, later: int = 0) -> Found:
    """Every job's results, in `args.workers` processes; later: how many more may follow."""
    found: Found = {}
    with (
        ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool,
        tqdm(total=len(jobs), desc="runs") as bar,
    ):
        waiting = {pool.submit(run_one, settings(a, r, s, args)): (a.name, r, s) for a, r, s in jobs}
        for done in as_completed(waiting):
            found[waiting[done]] = result = done.result()
            if "failed" in result:
                tqdm.write(f"{waiting[done]}: {result['failed']}")
            bar.set_postfix_str(left(found, len(jobs) - len(found), later, args.workers), refresh=False)
            bar.update()
    return found


def left(found: Found, waiting: int, later: int, workers: int) -> str:
    """The time that is left, in words; nothing where no run was taught in this call."""
    taught = [result["seconds"] for result in found.values() if "seconds" in result]
    if not taught:
        return ""
    each = sum(taught) / len(taught) / workers / 60
    more = f", at most {each * (waiting + later):.0f} with more seeds" if later else ""
    return f"about {each * waiting:.0f} min left{more}"
