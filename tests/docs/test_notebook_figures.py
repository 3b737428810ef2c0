"""Figures in the conclusions of notebooks are among those that the notebook printed, or that `RESULTS.md` has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = "bench/RESULTS.md"
FIGURE = re.compile(r"(?<![\w.])(?:\d+)?\.\d+|\d+(?:,\d{3})+")  # such as .77, 9.9, 85,504
PRINTED = re.compile(r"\d[\d,]*\.?\d*(?:e[+-]?\d+)?|\.\d+")


def printed(text: str) -> set[float]:
    """Every number of a text, and what it is as a percentage or a share."""
    found = {float(one.replace(",", "")) for one in PRINTED.findall(text)}
    return found | {100 * one for one in found} | {one / 100 for one in found}


def said(notebook: dict[str, Any]) -> str:
    """What the cells of code printed, and what they say themselves."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        parts += cell["source"]
        for out in cell["outputs"]:
            parts += out.get("text", [])
            parts += [line for kind, lines in out.get("data", {}).items() if kind.startswith("text") for line in lines]
    return "".join(parts)


def strangers(paragraph: str, among: set[float]) -> list[str]:
    """Figures that none of those is, rounded to as many places."""
    found = []
    for figure in FIGURE.findall(paragraph):
        value, places = float(figure.replace(",", "")), len(figure.partition(".")[2])
        if not any(abs(value - one) <= 0.5 * 10**-places + 1e-9 for one in among):
            found.append(figure)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_conclusions_quote_what_was_measured(path: Path) -> None:
    notebook = json.loads(path.read_text())
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    concluding = [text for text in texts if "**Conclusion.**" in text]
    assert concluding
    here, measured = printed(said(notebook)), printed((ROOT / MEASURED).read_text())
    for paragraph in "\n\n".join(concluding).split("\n\n"):
        wrong = strangers(paragraph, here | measured if MEASURED in paragraph else here)
        assert not wrong, f"{path.name}: nothing printed is {', '.join(wrong)}: {paragraph[:80]}..."


def test_a_figure_of_another_run_is_seen() -> None:
    among = printed("accuracy 0.7712, lost 9.87 points of 85,504 weights, 12 %")
    assert strangers("(.77, lost 9.9 points, 85,504, .12)", among) == []
    assert strangers("(.78, lost 9.8 points, 85,505, .13)", among) == [".78", "9.8", "85,505", ".13"]
