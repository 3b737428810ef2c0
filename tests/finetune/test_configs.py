"""The packaged configurations of stage two can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairalign import RecomposeConfig, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "recompose").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_reads_and_its_first_line_is_the_command(path: Path) -> None:
    config = load_config(RecomposeConfig, path)
    assert config.tasks
    text = path.read_text()
    assert text.startswith(f"# pairalign recompose configs/recompose/{path.name}")
    assert len(text.splitlines()) <= 60
