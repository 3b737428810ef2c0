"""One process of test_fsdp2.py: `fsdp_worker.py RUNS.json` does runs of stage two one after the other.

A run with `dies_at` fails before that step's batch, as a kill would find it: after the checkpoint of the step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from pairalign.core.config import load_config
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import recompose_mllm

step = StageTwo.training_step


def die_at(when: int) -> None:
    def dies(self: StageTwo, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == when:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    StageTwo.training_step = dies  # type: ignore[method-assign]


def main(runs: Path) -> None:
    torch.set_num_threads(1)
    for settings in json.loads(runs.read_text()):
        when = settings.pop("dies_at", None)
        if when is not None:
            die_at(when)
        recompose_mllm(load_config(RecomposeConfig, settings), progress=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
