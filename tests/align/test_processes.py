"""The same command under torchrun: two real gloo processes train one model, and resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

PLUGIN = """
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder

@register_encoder("plain_vector")
class PlainVector(Encoder):
    signal = Signal("vector", (6,), unit="N")

    def __init__(self, width: int = 16):
        super().__init__(width)
        self.net = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
"""


@pytest.fixture
def command(align_settings: dict[str, Any], tmp_path: Path) -> list[str]:
    """A torchrun command line; overrides may be appended."""
    plugin = tmp_path / "plain.py"
    plugin.write_text(PLUGIN)
    for modality in align_settings["modalities"].values():
        modality["encoder"] = "plain_vector"
    align_settings["modalities"]["c"]["tune"] = "none"  # both processes need its cache: one builds it
    align_settings["train"].update(steps=24, lr=5e-3)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**align_settings, "plugins": [str(plugin)]}))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    return [*launcher, "-m", "pairalign", "align", str(path), "--quiet"]


def launch(command: list[str], *overrides: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *overrides], capture_output=True, text=True, timeout=300, env=environment)


def test_two_processes_train_one_model_resume_to_the_bit_and_are_not_mistaken_for_one(
    command: list[str], tmp_path: Path
) -> None:
    whole = launch(command, f"out={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    losses = [m["train/a-b/contrast"] for m in lines if "train/a-b/contrast" in m]
    assert losses[-1] < losses[0]
    assert len(losses) == 24  # one process writes

    half = launch(command, f"out={tmp_path / 'cut'}", "train.steps=24", "train.checkpoint_every=8")
    assert half.returncode == 0, half.stderr
    (tmp_path / "cut" / "model.safetensors").unlink()  # as if killed after its last checkpoint, at step 16
    again = launch(command, f"out={tmp_path / 'cut'}", "train.checkpoint_every=8")
    assert again.returncode == 0, again.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)

    (tmp_path / "cut" / "model.safetensors").unlink()
    alone = launch([sys.executable, *command[command.index("-m", 3) :]], f"out={tmp_path / 'cut'}")
    assert alone.returncode == 2
    assert "was written by 2 processes, now there are 1" in alone.stderr
    assert "Traceback" not in alone.stderr
