"""`bench/gpu.sh` at toy size on the CPU: every arm runs; its figures mean nothing there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.sh"


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.exists(), reason="bench/ is not part of an installed package")
def test_every_arm_runs_at_toy_size(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run(["bash", SCRIPT, tmp_path, "toy"], check=True, env=environment, capture_output=True)
    record = json.loads((tmp_path / "gpu_step.json").read_text())
    arms = {found["arm"]: found for found in record["arms"]}
    assert len(arms) == 11
    assert not [found for found in arms.values() if "failed" in found]
    assert arms["rows 0.1"]["trained"] < arms["rows 0.6"]["trained"] < arms["rows 0.1"]["base"]
    assert arms["hooks 0.1"]["trained"] > arms["rows 0.6"]["trained"]
