"""Finished runs of the tiny stage two, to make packs of."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_two import TOUCH, short_run

from pairalign.finetune.run import RecomposeRun


@pytest.fixture(scope="module")
def touch(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> RecomposeRun:
    return short_run(
        setup,
        tmp_path_factory.mktemp("runs") / "touch",
        dormant={"score": "splash", "structure": "rows", "density": 0.2},
    )


@pytest.fixture(scope="module")
def points(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> RecomposeRun:
    task = {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}
    return short_run(
        setup,
        tmp_path_factory.mktemp("runs") / "points",
        sensors={"points": {"run": "demo/run", "bridge": "resampler", "tokens": 3}},
        tasks={"points": task},
        validation={"points": {**task, "split": "val"}},
        dormant={"structure": "rows", "density": 0.2},
    )
