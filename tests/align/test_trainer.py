"""What a run prints: bars on stderr, so that stdout holds what it found and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pairalign.cli.main import main


def test_progress_bars_leave_stdout_alone(
    align_settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    align_settings["modalities"]["b"]["tune"] = "none"  # has a bar of its own for the anchors
    align_settings["train"] |= {"steps": 4, "validate_every": 2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    assert main(["align", str(tmp_path / "c.yaml")]) == 0
    out, error = capfd.readouterr()
    for bar in ("Epoch 0", "Validation", "anchors"):
        assert bar in error
    *table, run, following = out.splitlines()
    assert all(len(line.split()) == 2 and float(line.split()[1]) is not None for line in table)
    assert run == f"run: {align_settings['out']}"
    assert following.startswith("next: pairalign evaluate")
