"""A grid of drawings: a row for each source, and beside it the truth, the drawing, the nearest true sample, the mean.

Note:
    Drawings come in an encoder's own numbers. All of a target are shown between the same black and white, those of its
    true samples, so that a pale drawing looks pale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pairalign.data.draw import INK, draw_signal, new_figure, picture_array, signal_aspect
from pairalign.evaluate.pictures import frame
from pairalign.translation.gallery import Gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """One source, raw, and by heading what stands beside it, raw or as tensors in the target encoder's numbers."""

    source: Any
    beside: Mapping[str, Any]


def draw_grid(
    rows: Sequence[Drawing], source: tuple[str, str], target: tuple[str, str], gallery: Gallery, cell: float = 1.3
) -> Figure:
    """source, target: name and kind of signal. cell: width of a picture in inches."""
    headings = list(dict.fromkeys(name for row in rows for name in row.beside))
    cells = [[_cell(row.beside.get(name), target[1], gallery) for name in headings] for row in rows]
    tall = max(
        *(signal_aspect(source[1], row.source) for row in rows),
        *(signal_aspect(target[1], value) for line in cells for value in line if value is not None),
    )
    height = cell * tall * 1.07 * len(rows) + 0.3
    edges = {"left": 0.005, "right": 0.995, "bottom": 0.01, "top": 1 - 0.28 / height}
    ratios = [1.0, 0.15, *[1.0] * len(headings)]
    figure, axes = new_figure(
        1.06 * cell * sum(ratios),
        height,
        len(rows),
        len(ratios),
        width_ratios=ratios,
        wspace=0.06,
        hspace=0.07,
        **edges,
    )
    for line, row, values in zip(axes, rows, cells, strict=True):
        for ax in line[1:]:
            ax.axis("off")
        draw_signal(line[0], source[1], row.source)
        for ax, value in zip(line[2:], values, strict=True):
            if value is not None:
                ax.axis("on")
                draw_signal(ax, target[1], value)
                frame(ax, False)
    axes[0, 0].set_title(source[0], fontsize=9, color=INK, parse_math=False)
    for ax, name in zip(axes[0, 2:], headings, strict=True):
        ax.set_title(f"{target[0]}: {name}", fontsize=9, color=INK, parse_math=False)
    return figure


def shown(value: Tensor, gallery: Gallery) -> np.ndarray:
    """An image in its encoder's numbers as (H, W, 3) in [0, 1]."""
    value = value.detach().cpu().float()
    if gallery.low is not None and gallery.high is not None:
        value = (value - gallery.low) / (gallery.high - gallery.low).clamp(min=1e-9)
    return np.asarray(picture_array(value.clamp(0, 1)))


def _cell(value: Any, kind: str, gallery: Gallery) -> Any:
    return shown(value, gallery) if kind == "image" and isinstance(value, Tensor) else value
