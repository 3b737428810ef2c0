"""The figures of README's first screen are those of the measured section that it names, and say what they are of."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d*\.\d+)")


def section() -> str:
    """What was measured on a real language model."""
    found = re.search(r"^## A real pretrained language model.*?(?=^## )", RESULTS, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def test_every_figure_of_the_first_screen_was_measured() -> None:
    (table,) = re.findall(r"\*\*Measured on real pretrained weights\*\*.*?\n\n(\|.*?)\n\n", README, re.DOTALL)
    told, known = NUMBER.findall(table), set(NUMBER.findall(section()))
    assert len(told) >= 12
    assert not [figure for figure in told if figure not in known]


def test_it_says_of_what_they_are() -> None:
    opening = README[: README.index("## How it works")]
    for words in ("one seed", "validation contacts", "no other method"):
        assert words in opening
        assert words.split()[-1] in section()
