"""The figures of a report: recall with intervals and chance, retrieved neighbours, a map of the space, gates
per edge.

Every function returns a matplotlib `Figure` that belongs to no window, with transparent ground, so that it
sits on a light and on a dark page. Where it bites: a 2-D map shows two directions of many; clusters that are
apart on it are apart, those that overlap may not be.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.errors import ConfigError, DataError
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.signals import INK, LINE, MUTED, PALETTE, draw_signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels = Sequence[Hashable] | Tensor
MARKERS = ("o", "^", "s", "D", "P", "v", "X", "*")
HIT, EMERGENT = PALETTE[2], PALETTE[1]


@dataclass(frozen=True)
class Neighbours:
    """One query and what it retrieved, best first: raw signals, and whether each is a right answer."""

    query: Any
    found: Sequence[Any]
    right: Sequence[bool]


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """A windowless figure, `width` x `height` inches on transparent ground, and its (rows, columns) axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150)
    figure.patch.set_alpha(0.0)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid or None)
    for ax in axes.flat:
        ax.patch.set_alpha(0.0)
        ax.tick_params(colors=INK, labelsize=9, length=0)
        for side, spine in ax.spines.items():
            spine.set_color(LINE)
            spine.set_visible(side in ("left", "bottom"))
    return figure, axes


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
    figure.tight_layout()
    return figure


def draw_neighbours(
    rows: Sequence[Neighbours], query: tuple[str, str], target: tuple[str, str], cell: float = 1.35
) -> Figure:
    """A row per query: the query signal, then what it retrieved, best first; right answers framed and ticked.

    query, target: (modality name, kind of signal as in `draw_signal`). cell: side of one picture in inches.
    """
    if not rows or not all(row.found for row in rows):
        raise DataError("draw_neighbours: give at least one query, each with at least one retrieved signal.")
    k = max(len(row.found) for row in rows)
    ratios = [1.0, 0.18, *[1.0] * k]
    figure, axes = new_figure(
        cell * sum(ratios) + 0.1 * k,
        cell * 1.06 * len(rows) + 0.35,
        len(rows),
        k + 2,
        width_ratios=ratios,
        wspace=0.07,
        hspace=0.07,
        left=0.01,
        right=0.99,
        bottom=0.01,
        top=1 - 0.33 / (cell * 1.06 * len(rows) + 0.35),
    )
    for line, row in zip(axes, rows, strict=True):
        draw_signal(line[0], query[1], row.query)
        for spine in line[0].spines.values():
            spine.set_visible(True)
        for ax in line[1:]:
            ax.axis("off")
        for ax, value, right in zip(line[2:], row.found, row.right, strict=False):
            ax.axis("on")
            draw_signal(ax, target[1], value)
            _frame(ax, bool(right))
    axes[0, 0].set_title(f"{query[0]} query", fontsize=9, color=INK)
    for place, ax in enumerate(axes[0, 2:], 1):
        ax.set_title(f"{target[0]} {place}" if place == 1 else str(place), fontsize=9, color=INK)
    return figure


def draw_map(
    latents: Mapping[str, Tensor],
    factors: Mapping[str, Mapping[str, Labels]],
    limit: int = 400,
    seed: int = 0,
) -> Figure:
    """A 2-D map of the joint space: a panel per factor, a colour per factor value, a marker per modality.

    latents: modality -> (N_m, D), compared by cosine. factors: factor -> modality -> N_m labels; a modality
    that is missing from a factor, as it cannot see it, is drawn in grey. limit: samples drawn per modality,
    at random.
    """
    if not latents or not factors:
        raise DataError("draw_map: give at least one modality and one factor.")
    generator = torch.Generator().manual_seed(seed)
    rows = {m: torch.randperm(len(x), generator=generator)[:limit] for m, x in latents.items()}
    plane = project(torch.cat([latents[m][rows[m]] for m in latents]))
    parts = dict(zip(latents, plane.split([len(r) for r in rows.values()]), strict=True))
    columns = min(3, len(factors))
    lines = -(-len(factors) // columns)
    figure, axes = new_figure(3.3 * columns, 3.75 * lines + 0.4, lines, columns)
    for ax, (name, labels) in zip(axes.flat, factors.items(), strict=False):
        kept = {m: _pick(labels[m], rows[m], m) for m in latents if m in labels}
        _map_panel(ax, name, parts, kept)
    for ax in list(axes.flat)[len(factors) :]:
        ax.axis("off")
    marks = [_marker(MARKERS[i % len(MARKERS)], MUTED, m) for i, m in enumerate(latents)]
    figure.legend(
        handles=marks, loc="lower center", ncol=len(marks), frameon=False, labelcolor=INK, fontsize=9
    )
    figure.tight_layout(rect=(0, 0.4 / figure.get_size_inches()[1], 1, 1))
    return figure


def project(x: Tensor) -> Tensor:
    """The first two principal components of the unit vectors of x (N, D): (N, 2) float64, sign fixed."""
    unit = F.normalize(x.detach().cpu().double(), dim=1)
    _, _, v = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    v = v[:2] * torch.where(v[:2].gather(1, v[:2].abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
    plane = (unit - unit.mean(0)) @ v.T
    return F.pad(plane, (0, 2 - plane.shape[1]))


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
    figure.tight_layout()
    return figure


def _bar(ax: Axes, at: float, score: Score, colour: str, alpha: float, thick: float, name: str) -> None:
    ax.barh(at, score.value, thick, color=colour, alpha=alpha, linewidth=0)
    ax.plot([score.low, score.high], [at, at], color=INK, linewidth=1.1, solid_capstyle="butt")
    if score.chance is not None:
        ax.plot([score.chance] * 2, [at - 0.45, at + 0.45], color=PALETTE[4], linewidth=1.8)
    ax.text(
        max(score.high, score.value) + 0.012,
        at,
        f"{score.value:.2f}  {name}",
        va="center",
        color=INK,
        fontsize=8,
    )


def _recall_legend(ax: Axes, emergent: bool, trained: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=PALETTE[0], label="trained")] * trained
    handles += [Patch(color=EMERGENT, label="emergent (never paired)")] * emergent
    handles += [Line2D([], [], color=INK, linewidth=1.1, label="95 % interval")]
    handles += [Line2D([], [], color=PALETTE[4], linewidth=1.8, label="chance")]
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


def _frame(ax: Axes, right: bool) -> None:
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


def _map_panel(ax: Axes, name: str, parts: Mapping[str, Tensor], labels: Mapping[str, list[str]]) -> None:
    values = sorted({v for column in labels.values() for v in column})
    colours = {value: PALETTE[i % len(PALETTE)] for i, value in enumerate(values)}
    for i, (modality, xy) in enumerate(parts.items()):
        colour = [colours[v] for v in labels[modality]] if modality in labels else [LINE] * len(xy)
        ax.scatter(
            xy[:, 0],
            xy[:, 1],
            c=colour,
            marker=MARKERS[i % len(MARKERS)],
            s=11,
            alpha=0.75,
            linewidths=0,
            rasterized=True,
            zorder=2 if modality in labels else 1,
        )
    ax.set_title(name, fontsize=10, color=INK, loc="left", fontweight="bold")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
    shown = [_marker("o", colours[v], v) for v in values[:8]]
    ax.legend(
        handles=shown,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncol=min(4, len(shown)),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=0.9,
    )


def _marker(marker: str, colour: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, label=label)


def _pick(labels: Labels, rows: Tensor, modality: str) -> list[str]:
    column = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    if len(column) <= int(rows.max()):
        raise ConfigError(
            f"draw_map: {len(column)} labels for {modality!r}, fewer than its latents: give one each."
        )
    return [str(column[i]) for i in rows.tolist()]
