"""Memory over the work, one small picture for all arms of the soak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairalign.data.draw import INK, LINE, PALETTE
from reliability.gauge import ALLOWED, WARM


def draw(readings: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Memory in proportion to its median after warm-up, over the share of the work that is done."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=110)
    axes = figure.subplots()
    for colour, (name, taken) in zip(PALETTE * 2, readings.items(), strict=False):
        total = taken[-1]["done"]
        then = sorted(one["memory"] for one in taken if WARM * total < one["done"] <= 2 * WARM * total)
        if then:
            base = then[len(then) // 2]
            axes.plot([n["done"] / total for n in taken], [n["memory"] / base for n in taken], color=colour, label=name)
    axes.axhline(ALLOWED, color=INK, linestyle=":", linewidth=1)
    axes.axvspan(0, WARM, color=LINE, zorder=0)
    axes.set(xlabel="share of the work", ylabel="memory / after warm-up", ylim=(0.9, 1.1))
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path)
