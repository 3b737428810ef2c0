"""What tests of asking and measuring share."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_two import Base, settings

from pairalign.finetune.assemble import assemble


@pytest.fixture(scope="module")
def base(setup: Path) -> Base:
    """A model with its sensors, and its processor, as they are before any training."""
    return assemble(settings(setup, setup / "unused"))
