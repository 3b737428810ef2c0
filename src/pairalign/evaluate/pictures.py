"""The figures of a report: recall with intervals and chance, retrieved neighbours, gates per edge, a map of
the space.

Every function returns a matplotlib `Figure` that belongs to no window, on transparent ground, so that it sits
on a light and on a dark page.

Note:
    Interval and chance are part of every bar; a bar without them says little.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.data.draw import INK, LINE, PALETTE, draw_signal, lay_out, new_figure, signal_aspect
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.space_map import draw_map, project

__all__ = [
    "Neighbours",
    "draw_gates",
    "draw_lines",
    "draw_map",
    "draw_neighbours",
    "draw_recall",
    "new_figure",
    "project",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIT, EMERGENT = PALETTE[2], PALETTE[1]


@dataclass(frozen=True)
class Neighbours:
    """One query and what it retrieved, best first: raw signals, and whether each is a right answer."""

    query: Any
    found: Sequence[Any]
    right: Sequence[bool]


def draw_recall(rows: Mapping[str, Mapping[str, Score]], emergent: Collection[str] = ()) -> Figure:
    """Horizontal bars: a row per edge or direction, a bar per series (R@1, R@5) with its interval and chance
    mark.

    rows: {"image → touch": {"R@1": Score}}; scores in [0, 1]. emergent: the row names drawn in the second
    colour.
    """
    if not rows or not all(rows.values()):
        raise DataError("draw_recall(rows={}): give at least one row with at least one score.")
    series = list(dict.fromkeys(name for scores in rows.values() for name in scores))
    pitch, thick = len(series) + 0.7, 0.74
    figure, axes = new_figure(8.2, 0.75 + 0.21 * pitch * len(rows))
    ax = axes[0, 0]
    for i, (label, scores) in enumerate(rows.items()):
        colour = EMERGENT if label in emergent else PALETTE[0]
        for name, score in scores.items():
            j = series.index(name)
            _bar(ax, i * pitch + j, score, colour, 1.0 - 0.6 * j / max(len(series), 1), thick, name)
    middle = (len(series) - 1) / 2
    ax.set_yticks([i * pitch + middle for i in range(len(rows))], list(rows))
    ax.set(xlim=(0, 1.14), ylim=(len(rows) * pitch - 1.0, -0.7))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", ".25", ".50", ".75", "1"])
    ax.spines["bottom"].set_visible(False)
    ax.grid(axis="x", color=LINE, linewidth=0.7)
    ax.set_axisbelow(True)
    _recall_legend(ax, any(r in emergent for r in rows), any(r not in emergent for r in rows))
    return lay_out(figure)


def draw_neighbours(
    rows: Sequence[Neighbours], query: tuple[str, str], target: tuple[str, str], cell: float = 1.35
) -> Figure:
    """A row per query: the query signal, then what it retrieved, best first; right answers framed and ticked.

    query, target: (modality name, kind of signal as in `draw_signal`). cell: width of one picture in inches.
    """
    if not rows or not all(row.found for row in rows):
        raise DataError("draw_neighbours: give at least one query, each with at least one retrieved signal.")
    k = max(len(row.found) for row in rows)
    tall = max(
        *(signal_aspect(query[1], row.query) for row in rows),
        *(signal_aspect(target[1], value) for row in rows for value in row.found),
    )
    ratios = [1.0, 0.2, *[1.0] * k]
    width, height = 1.06 * cell * sum(ratios), cell * tall * 1.07 * len(rows) + 0.3
    edges = {"left": 0.005, "right": 0.995, "bottom": 0.01, "top": 1 - 0.28 / height}
    figure, axes = new_figure(
        width, height, len(rows), k + 2, width_ratios=ratios, wspace=0.06, hspace=0.07 / tall, **edges
    )
    for line, row in zip(axes, rows, strict=True):
        for ax in line[1:]:
            ax.axis("off")
        draw_signal(line[0], query[1], row.query)
        frame(line[0], False)
        for ax, value, right in zip(line[2:], row.found, row.right, strict=False):
            ax.axis("on")
            draw_signal(ax, target[1], value)
            frame(ax, bool(right))
    axes[0, 0].set_title(f"{query[0]}, the query", fontsize=9, color=INK, parse_math=False)
    for place, ax in enumerate(axes[0, 2:], 1):
        ax.set_title(f"nearest {target[0]}" if place == 1 else str(place), fontsize=9, color=INK, parse_math=False)
    return figure


def draw_gates(
    gates: Mapping[str, Tensor], title: str = "latent dimension, ordered by the edges that use it"
) -> Figure:
    """Heat map, a row per edge and a column per latent dimension, of gates (D,) or of any use >= 0.

    Each row is scaled by its largest value. Dimensions are ordered by the set of edges that use them (a tenth
    of the largest value or more), so that what the edges share stands in one block.
    """
    sizes = {len(gate) for gate in gates.values()}
    if len(sizes) != 1:
        raise DataError(
            f"draw_gates: {len(gates)} edges of widths {sorted(sizes)}: give one edge or more, of one width."
        )
    table = torch.stack([gate.detach().cpu().double().flatten().clamp(min=0) for gate in gates.values()])
    table = table / table.amax(1, keepdim=True).clamp(min=1e-12)
    used = table >= 0.1
    order = sorted(
        range(table.shape[1]), key=lambda d: ([not u for u in used[:, d].tolist()], -float(table[:, d].sum()))
    )
    figure, axes = new_figure(8.2, 0.75 + 0.34 * len(gates))
    ax = axes[0, 0]
    red, green, blue = (int(PALETTE[0][i : i + 2], 16) / 255 for i in (1, 3, 5))
    image = np.empty((*table.shape, 4))
    image[..., :3] = red, green, blue
    image[..., 3] = 0.06 + 0.94 * table[:, order].numpy()
    ax.imshow(image, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(gates)), list(gates))
    ax.set_xticks([])
    ax.set_xlabel(title, color=INK, fontsize=9)
    for i in range(1, len(gates)):
        ax.axhline(i - 0.5, color=LINE, linewidth=1.2)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for i, count in enumerate(used.sum(1).tolist()):
        ax.text(
            1.01,
            i,
            f"{count} of {table.shape[1]}",
            transform=ax.get_yaxis_transform(),
            va="center",
            color=INK,
            fontsize=9,
        )
    ax.text(1.01, -0.55, "in use", transform=ax.get_yaxis_transform(), va="bottom", color=INK, fontsize=8)
    return lay_out(figure)


def draw_lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    width: float = 3.3,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Lines over steps, a panel for each title, a line of (step, value) for each name.

    Where lines lie on one another, the earlier is the wider, so that none is hidden. limits: of the values.
    """
    figure, axes = new_figure(width, 2.7, 1, len(panels))
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for n, (name, points) in enumerate(lines.items()):
            wide = 1.4 + 1.5 * (len(lines) - 1 - n)
            ax.plot(*zip(*points, strict=True), color=PALETTE[n % len(PALETTE)], linewidth=wide, label=name)
        ax.set_title(title, fontsize=9, color=INK, loc="left")
        ax.set_xlabel("step", fontsize=9, color=INK)
        if limits is not None:
            ax.set_ylim(*limits)
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return lay_out(figure)


def _bar(ax: Axes, at: float, score: Score, colour: str, alpha: float, thick: float, name: str) -> None:
    """Value in colour, the interval as a capped line, chance as a thick mark across the bar."""
    ax.barh(at, score.value, thick, color=colour, alpha=alpha, linewidth=0)
    if score.chance is not None:
        ax.plot([score.chance] * 2, [at - 0.46, at + 0.46], color=INK, linewidth=2.2, solid_capstyle="butt")
    ax.errorbar(
        (score.low + score.high) / 2,
        at,
        xerr=(score.high - score.low) / 2,
        color=INK,
        linewidth=1,
        capsize=2.2,
    )
    end = max(score.high, score.value, score.chance or 0.0) + 0.012
    ax.text(end, at, f"{score.value:.2f}  {name}", va="center", color=INK, fontsize=8)


def _recall_legend(ax: Axes, emergent: bool, trained: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=PALETTE[0], label="trained")] * trained
    handles += [Patch(color=EMERGENT, label="emergent (never paired)")] * emergent
    handles += [Line2D([], [], color=INK, linewidth=1.1, marker="|", markersize=5, label="95 % interval")]
    handles += [Line2D([], [], linestyle="", color=INK, marker="|", markersize=9, markeredgewidth=2.2, label="chance")]
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncol=4,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        borderaxespad=0.1,
        handlelength=1.2,
        columnspacing=1.4,
    )


def frame(ax: Axes, right: bool) -> None:
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(HIT if right else LINE)
        spine.set_linewidth(2.4 if right else 0.8)
    if right:
        ax.text(
            0.96,
            0.955,
            "✓",
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=8,
            color="white",
            fontfamily="DejaVu Sans",
            bbox={"boxstyle": "round,pad=0.18", "color": HIT},
        )
