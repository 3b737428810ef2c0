"""One run from configuration to record, in a process of its own: WORK/records/NAME.json.

Note:
    A record that is there is not made again; a run that was killed goes on where it stopped, since the product does so,
    and its seconds are then of the last part. A run that went non-finite is a record too.
"""

from __future__ import annotations

import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real.senses import SENSES, Sense, recordings
from real.settings import BATCH, Run, Where, settings, stage_one

if TYPE_CHECKING:
    from pairalign.core.config import AlignConfig

FOLD: dict[Where, int | None] = {"fold": 0, "whole": None}
SHORT = 20  # steps


def record_of(run: Run, work: Path) -> dict[str, Any] | None:
    """What was measured of a run, `None` where it has not run."""
    path = work / "records" / f"{run.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def teach(run: Run, data: Path, work: Path, quick: bool = False) -> dict[str, Any]:
    """The record of a run, made now if it is missing."""
    found = record_of(run, work)
    if found is None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # its memory is its own
            found = pool.submit(_teach, run, data, work, quick).result()
    return found


def align(sense: Sense, data: Path, work: Path, where: Where, seed: int, quick: bool = False) -> Path:
    """Stage one on recordings and their pictures, once for each seed."""
    from pairalign.align.run import align_pairs
    from pairalign.data.pack import pack_pairs

    packed, out = work / "packed" / where, stage_one(work, sense.name, where, seed)
    if not (packed / sense.shards / "index.json").exists():
        rows = list(recordings(sense.name, data, FOLD[where]))
        pack_pairs(rows, packed / sense.shards, modalities=[sense.beside, sense.name], progress=False)
    align_pairs(configured(sense, packed, out, seed, SHORT if quick else sense.steps), progress=False)
    return out


def configured(sense: Sense, packed: Path, out: Path, seed: int, steps: int | None) -> AlignConfig:
    """Stage one of a sense; steps: other than its configuration has."""
    from pairalign.core.config import AlignConfig, load_config

    told = [f"data.root={packed}", f"out={out}", f"seed={seed}", *sense.told]
    told += [f"train.steps={steps}", f"train.warmup={steps // 10}"] if steps else []
    return replace(load_config(AlignConfig, sense.config, told), plugins=sense.plugins)


def align_alone(*told: Any) -> Path:
    """`align` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(align, *told).result()


def _teach(run: Run, data: Path, work: Path, quick: bool) -> dict[str, Any]:
    import torch

    from pairalign import RecomposeConfig, load_config, read_signal, recompose_mllm
    from pairalign.core.errors import DataError
    from pairalign.files import write_json
    from real.beyond import ask_beyond

    torch.set_num_threads(1)
    align(SENSES[run.arm.sense], data, work, run.where, run.seed, quick)
    config, start = load_config(RecomposeConfig, settings(run, work)), (time.monotonic(), time.process_time())
    about = {"arm": run.arm.name, "rate": run.rate, "seed": run.seed, "where": run.where, "dtype": run.dtype,
             "batch_size": BATCH, "steps": config.train.steps, "method": run.arm.method, "dormant": run.arm.dormant,
             "options": run.arm.options, "train": run.arm.train, "lessons": run.arm.lessons}  # fmt: skip
    try:
        taught = recompose_mllm(config, progress=False)
    except DataError as error:
        found: dict[str, Any] = {"failed": str(error)}
    else:
        found = {"results": taught.results}
        if run.where == "whole":
            name = run.arm.sense
            signals = [read_signal(row[name]) for row in recordings(name, data) if row["split"] == "test"]
            found["beyond"] = ask_beyond(taught.model, taught.processor, name, signals, work / "lessons", quick)
    found["seconds"], found["cpu_seconds"] = time.monotonic() - start[0], time.process_time() - start[1]
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write_json(work / "records" / f"{run.name}.json", {**about, **found}, indent=1)
    return {**about, **found}
