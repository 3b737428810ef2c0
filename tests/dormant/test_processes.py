"""Dormant training over two real gloo processes, under DDP and FSDP2, gives what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dormant_worker import STRUCTURES, build, trained
from recompose_models import tiny_llama

WORLD = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gloo")
    worker = Path(__file__).parents[1] / "support" / "dormant_worker.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(worker), str(rank), str(WORLD), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=300)
            assert process.returncode == 0, stderr
    finally:
        for process in processes:
            process.kill()
    return folder


@pytest.mark.parametrize("structure", STRUCTURES)
def test_two_processes_equal_one(ranks: Path, structure: str) -> None:
    wanted = trained(build(structure), slice(None))
    base = dict(tiny_llama().named_parameters())
    for way, found in torch.load(ranks / f"{structure}.pt", weights_only=True).items():
        assert found.keys() == wanted.keys(), way
        for name, value in found.items():
            if name.endswith(".values"):
                torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6, msg=f"{way}: {name}")
            elif way.startswith("fsdp"):
                assert value.equal(base[name.removeprefix("base_model.")]), (way, name)  # shards keep the base
