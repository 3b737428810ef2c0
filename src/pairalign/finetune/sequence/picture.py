"""A sequence as one picture: skills and held-out tasks from stage to stage, and the answer bias against forgetting."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairalign.data.draw import INK, LINE, MUTED, PALETTE, lay_out, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dvp*X"


def draw_sequence(results: Mapping[str, Any]) -> Figure:
    """Left: the mean score of the skills that have been taught; middle: of held-out tasks; right: a dot a measurement.

    Lines are means over seeds, ranges their lowest and highest.
    """
    arms = list(dict.fromkeys(run["arm"] for run in results["runs"]))
    figure, axes = new_figure(11.0, 4.4, 1, 3)
    taught, held, bias = axes.flat
    names = list(results["skills"])
    for place, arm in enumerate(arms):
        runs = [run for run in results["runs"] if run["arm"] == arm]
        style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)], "label": arm}
        _line(taught, 1, [[_taught(run, names, n) for n in range(len(run["stages"]))] for run in runs], style)
        if runs[0]["base"]["held_out"]:
            _line(held, 0, [[_mean(row["held_out"]) for row in (run["base"], *run["stages"])] for run in runs], style)
        points = [p for p in results["bias"]["points"] if p["arm"] == arm and p["right"] is not None]
        bias.scatter([p["forgetting"] for p in points], [p["right"] for p in points], s=18, alpha=0.8, **_dots(style))
    for ax, first in ((taught, 1), (held, 0)):
        ax.set_xticks(range(first, len(names) + 1), ["base", *names][first:], rotation=30, ha="right")
        ax.set_ylim(-0.03, 1.03)
        ax.grid(axis="y", color=LINE, linewidth=0.6)
    taught.set_title("skills taught so far", fontsize=9, color=INK)
    held.set_title("held-out tasks", fontsize=9, color=INK)
    taught.set_ylabel("exact answers", fontsize=9, color=MUTED)
    r = results["bias"]["correlation"].get("all arms", {}).get("right", {"r": None, "n": 0})
    told = "" if r["r"] is None else f", r = {r['r']:+.2f} (n {r['n']})"
    bias.set_title(f"answer bias and forgetting{told}", fontsize=9, color=INK)
    bias.set_xlabel("points of held-out accuracy lost", fontsize=9, color=MUTED)
    bias.set_ylabel("points of probability more for the probe's words", fontsize=9, color=MUTED)
    figure.legend(*taught.get_legend_handles_labels(), loc="lower center", ncols=6, frameon=False, fontsize=8)
    return lay_out(figure, bottom=0.08)


def _line(ax: Axes, first: int, rows: Sequence[Sequence[float]], style: Mapping[str, Any]) -> None:
    """Of the runs that got furthest; ranges where there are several."""
    length = max(map(len, rows))
    columns = list(zip(*(row for row in rows if len(row) == length), strict=True))
    at = [first + n for n in range(length)]
    ax.plot(at, [statistics.fmean(c) for c in columns], markersize=4, linewidth=1.2, **style)
    if len(columns[0]) > 1:
        ax.vlines(at, [min(c) for c in columns], [max(c) for c in columns], color=style["color"], linewidth=0.8)


def _taught(run: Mapping[str, Any], names: Sequence[str], stage: int) -> float:
    return statistics.fmean(run["stages"][stage]["skills"][name] for name in names[: stage + 1])


def _mean(scores: Mapping[str, float]) -> float:
    values: Iterable[float] = scores.values()
    return statistics.fmean(values)


def _dots(style: Mapping[str, Any]) -> dict[str, Any]:
    return {"color": style["color"], "marker": style["marker"]}
