"""The tiny stage two, once for all processes of a test run."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_two import make_setup


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")
