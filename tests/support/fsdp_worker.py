"""One process of test_fsdp2.py: `main(RUNS.json)` does runs of stage two one after the other.

A run with `dies_at` fails before that step's batch, as a kill would find it: after the checkpoint of the step. One with
`leaves` copies its folder there at step 1 of two, which is what a kill would leave. One with `knows` fails where it
scores the base or measures it. Each process writes into seen-RANK.json of a run's folder how many pictures it asked for
and how many the base was asked of.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from pairalign.core.config import load_config
from pairalign.dormant import cache, choose
from pairalign.finetune import base_cache
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import recompose_mllm
from pairalign.sensors.vision import VisionMemory

step = StageTwo.training_step


def die_at(when: int) -> None:
    def dies(self: StageTwo, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == when:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    StageTwo.training_step = dies  # type: ignore[method-assign]


def leave_at_one(folder: str) -> None:
    def leaves(self: StageTwo, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 1 and self.runtime.main and not Path(folder).exists():
            shutil.copytree(self.config.out, folder)
        return step(self, batch, batch_idx)

    StageTwo.training_step = leaves  # type: ignore[method-assign]


@contextmanager
def knowing_the_base() -> Iterator[None]:
    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("the base was asked again")

    owners = [(choose, "score_model"), (choose, "input_moments"), (cache, "score_model")]
    owners += [(base_cache, "measure_base")]
    plain = [getattr(*owner) for owner in owners]
    try:
        for module, name in owners:
            setattr(module, name, fails)
        yield
    finally:
        for (module, name), value in zip(owners, plain, strict=True):
            setattr(module, name, value)


@contextmanager
def counting_pictures(out: Path) -> Iterator[None]:
    plain, counts = VisionMemory._of, {"shown": 0, "asked": 0}

    def counted(self: VisionMemory, ask: Any, call: Any) -> Any:
        had = len(self.kept)
        seen = plain(self, ask, call)
        counts["shown"] += 1
        counts["asked"] += len(self.kept) - had
        return seen

    VisionMemory._of = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        VisionMemory._of = plain  # type: ignore[method-assign]
    if counts["shown"]:
        (out / f"seen-{os.environ['RANK']}.json").write_text(json.dumps(counts))


def main(runs: Path) -> int:
    torch.set_num_threads(1)
    for settings in json.loads(runs.read_text()):
        when, leaves, knows = (settings.pop(name, None) for name in ("dies_at", "leaves", "knows"))
        StageTwo.training_step = step  # type: ignore[method-assign]
        if when is not None:
            die_at(when)
        if leaves is not None:
            leave_at_one(leaves)
        with knowing_the_base() if knows else nullcontext(), counting_pictures(Path(settings["out"])):
            recompose_mllm(load_config(RecomposeConfig, settings), progress=False)
    return 0
