"""One process of test_fsdp2.py: `fsdp_worker.py RUNS.json` does runs of stage two one after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from pairalign.core.config import load_config
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import recompose_mllm


def main(runs: Path) -> None:
    torch.set_num_threads(1)
    for settings in json.loads(runs.read_text()):
        recompose_mllm(load_config(RecomposeConfig, settings), progress=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
