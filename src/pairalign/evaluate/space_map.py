"""A 2-D map of the joint space: which modalities meet, and what their neighbourhoods share.

Source: principal components of the unit vectors (Pearson 1901).

Note:
    It shows two directions of many; clusters that are apart on it are apart, those that overlap may not be.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.draw import INK, MUTED, PALETTE, lay_out, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels = Sequence[Hashable] | Tensor
UNSEEN = "#8c95a0"
MARKERS = ("o", "^", "s", "D", "P", "v", "X", "*")


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
    figure.legend(handles=marks, loc="lower center", ncol=len(marks), frameon=False, labelcolor=INK, fontsize=9)
    return lay_out(figure, bottom=0.4 / figure.get_size_inches()[1])


def project(x: Tensor) -> Tensor:
    """The first two principal components of the unit vectors of x (N, D): (N, 2) float64, sign fixed."""
    unit = F.normalize(x.detach().cpu().double(), dim=1)
    _, _, v = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    v = v[:2] * torch.where(v[:2].gather(1, v[:2].abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
    plane = (unit - unit.mean(0)) @ v.T
    return F.pad(plane, (0, 2 - plane.shape[1]))


def _map_panel(ax: Axes, name: str, parts: Mapping[str, Tensor], labels: Mapping[str, list[str]]) -> None:
    values = sorted({v for column in labels.values() for v in column})
    colours = {value: PALETTE[i % len(PALETTE)] for i, value in enumerate(values)}
    for i, (modality, xy) in enumerate(parts.items()):
        colour = [colours[v] for v in labels[modality]] if modality in labels else [UNSEEN] * len(xy)
        ax.scatter(
            xy[:, 0],
            xy[:, 1],
            c=colour,
            marker=MARKERS[i % len(MARKERS)],
            s=11,
            alpha=0.75 if modality in labels else 0.3,
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
        raise ConfigError(f"draw_map: {len(column)} labels for {modality!r}, fewer than its latents: give one each.")
    return [str(column[i]) for i in rows.tolist()]
