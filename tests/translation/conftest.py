"""One small trained run for all tests of translation."""

from __future__ import annotations

import drawn as world
import pytest

from pairalign.align.run import AlignRun


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> AlignRun:
    return world.make_run(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(autouse=True)
def registered(tiny_vector: str) -> None:
    """Its encoders, which other tests forget."""
    world.register()
