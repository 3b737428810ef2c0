"""Pages of concepts and of limits cite figures and measure none: each stands, as it is written, in bench/RESULTS.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.])")
PAGES = sorted([*(ROOT / "docs" / "concepts").glob("*.md"), ROOT / "docs" / "when-not.md"])
RESULTS = set(FIGURE.findall((ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_figure_is_one_of_the_results(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cited = FIGURE.findall(re.sub(r"`[^`]*`", "", text))
    assert cited
    assert "bench/RESULTS.md" in text
    assert set(cited) <= RESULTS
