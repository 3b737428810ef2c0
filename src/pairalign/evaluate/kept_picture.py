"""A picture of partial alignment: over every latent dimension of an edge its gate, and below which factor it tells.

Note:
    Dimensions are in the order of the gate, so that what is kept stands on the left of the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pairalign.data.draw import INK, LINE, PALETTE, lay_out, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALEST = 0.05


def draw_kept(edge: str, found: Mapping[str, Any]) -> Figure:
    """One edge as `measure_kept` found it: a row for the gate, then for each side a row for each factor."""
    gate = np.array(found["gate"])
    order = np.argsort(-gate, kind="stable")
    names, lines, colours = ["gate"], [gate / max(gate.max(), 1e-12)], [PALETTE[7]]
    for n, (side, factors) in enumerate(found["sides"].items()):
        for name, one in factors.items():
            mark = {None: "", True: " ●", False: " ○"}[one["seen"]]
            names.append(f"{side}: {name}{mark}")
            lines.append(np.clip((np.array(one["each"]) - one["chance"]) / max(1 - one["chance"], 1e-9), 0, 1))
            colours.append(PALETTE[n])
    figure, axes = new_figure(8.2, 0.6 + 0.2 * len(lines))
    image = np.empty((len(lines), len(gate), 4))
    for row, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        image[row, :, :3] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        image[row, :, 3] = PALEST + (1 - PALEST) * line[order]
    ax = axes[0, 0]
    ax.imshow(image, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xticks([])
    shown = any(one["seen"] is not None for factors in found["sides"].values() for one in factors.values())
    key = "   ● both sides see it   ○ they do not" if shown else ""
    ax.set_xlabel(f"shared dimension of {edge}, by its gate{key}", color=INK, fontsize=9)
    ax.axhline(0.5, color=LINE, linewidth=1.2)
    if 0 < found["kept"] < len(gate):
        ax.axvline(found["kept"] - 0.5, color=INK, linewidth=1.2)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return lay_out(figure)
