"""A whole run of both stages, and every verb, on a second device: whatever is computed elsewhere is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).parent / "support" / "device_worker.py"


def on_the_mirror(setup: Path, out: Path) -> dict[str, Any]:
    """What the worker saw; it is a process of its own, because a process has one accelerator for good."""
    path = os.pathsep.join([str(WORKER.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, str(WORKER), str(setup), str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("device: mirror:0") == done.stderr.count("device: "), done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(found: dict[str, Any]) -> None:
    assert {name: verb["code"] for name, verb in found.items()} == dict.fromkeys(found, 0)
    assert {name: verb["elsewhere"] for name, verb in found.items() if verb["elsewhere"]} == {}
    assert all(verb["ran"] for verb in found.values()), found


@pytest.mark.slow
def test_every_verb_computes_on_the_device_it_was_given(setup: Path, tmp_path: Path) -> None:
    found = on_the_mirror(setup, tmp_path)
    assert len(found) == 15
    check(found)
