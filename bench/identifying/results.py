"""What the study found: every R² over the seeds, the figures that sum it up, as text, JSON and a heat map.

Note:
    A mean over blocks hides the one block that is lost, so every figure comes with its worst single cell over blocks,
    modalities and seeds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from identifying.reading import Cell
from identifying.recipe import StudyConfig
from pairalign.files import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FIGURES: dict[str, tuple[Callable[[Cell], bool], Callable[[Iterable[float]], float]]] = {
    "shared from shared": (lambda c: c.part == "shared" and c.kind == "shared", min),
    "private from shared": (lambda c: c.part == "shared" and c.kind == "private", max),
    "private from faint": (lambda c: c.part == "faint" and c.kind == "private", max),
    "foreign from edge": (lambda c: c.kind == "foreign", max),
    "private from private": (lambda c: c.part == "private" and c.kind == "private", min),
    "shared from private": (lambda c: c.part == "private" and c.kind == "shared", max),
}
"""Name → which cells it averages, and which of them is the worst."""


@dataclass(frozen=True)
class Result:
    """One run: variant and seed, its R² cells, the learned gates per edge, CPU seconds of training and
    reading."""

    variant: str
    seed: int
    cells: tuple[Cell, ...]
    gates: dict[str, list[float]]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """The inverse of `to_dict`."""
        return cls(**{**values, "cells": tuple(Cell(**cell) for cell in values["cells"])})


@dataclass(frozen=True)
class R2:
    """R² over n seeds: mean and sample standard deviation (0 for one seed), and the worst single value by
    kernel."""

    linear: float
    linear_std: float
    kernel: float
    kernel_std: float
    worst: float
    n: int

    def __str__(self) -> str:
        return f"{self.kernel:.3f} ± {self.kernel_std:.3f} ({self.worst:.3f}; linear {self.linear:.3f})"


@dataclass(frozen=True)
class Study:
    """All runs of a study. Synthetic data throughout."""

    config: StudyConfig
    results: tuple[Result, ...]

    @property
    def variants(self) -> list[str]:
        """The variants that were run, in that order."""
        return list(dict.fromkeys(result.variant for result in self.results))

    def table(self, variant: str) -> dict[tuple[str, str, str], R2]:
        """(modality, part, block) → R² over the seeds of a variant."""
        runs = [{(c.modality, c.part, c.block): c for c in r.cells} for r in self._runs(variant)]
        return {key: _r2([[run[key]] for run in runs], min) for key in runs[0]}

    def figures(self, variant: str) -> dict[str, R2]:
        """Name of each of `FIGURES` → its R² over the seeds of a variant, each the mean of its cells."""
        runs = self._runs(variant)
        return {
            name: _r2([[c for c in run.cells if chosen(c)] for run in runs], worst)
            for name, (chosen, worst) in FIGURES.items()
        }

    def text(self) -> str:
        """The figures of every variant: kernel R² mean ± std over seeds (worst cell; linear mean)."""
        lines = []
        for variant in self.variants:
            seeds = len(self._runs(variant))
            lines.append(f"{variant} (synthetic, {seeds} seed{'s' * (seeds != 1)})")
            lines += [f"  {name:<22}{figure}" for name, figure in self.figures(variant).items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Configuration, figures, table and gates as plain values."""
        variants = {
            variant: {
                "figures": {name: dataclasses.asdict(r2) for name, r2 in self.figures(variant).items()},
                "table": [
                    {"modality": m, "part": p, "block": b, **dataclasses.asdict(r2)}
                    for (m, p, b), r2 in self.table(variant).items()
                ],
                "runs": [{"seed": r.seed, "seconds": r.seconds, "gates": r.gates} for r in self._runs(variant)],
            }
            for variant in self.variants
        }
        return {"data": "synthetic", "config": dataclasses.asdict(self.config), "variants": variants}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, whole or not at all."""
        write_json(Path(path), self.to_dict())

    def _runs(self, variant: str) -> list[Result]:
        return [result for result in self.results if result.variant == variant]


def draw_study(study: Study) -> Figure:
    """One heat map per variant: learned parts (rows) against true blocks (columns), mean kernel R² over the
    seeds."""
    from pairalign.evaluate.pictures import new_figure

    tables = {variant: study.table(variant) for variant in study.variants}
    first = tables[study.variants[0]]
    rows = list(dict.fromkeys((m, p) for m, p, _ in first if p != "faint"))
    columns = list(dict.fromkeys(block for _, _, block in first))
    figure, axes = new_figure(1.2 + 2.6 * len(tables), 0.8 + 0.26 * len(rows), 1, len(tables))
    for ax, (variant, table) in zip(axes[0], tables.items(), strict=True):
        image = _heat_map(ax, [[table.get((m, p, b)) for b in columns] for m, p in rows])
        ax.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=6)
        ax.set_yticks([])
        ax.set_title(variant, fontsize=8)
    axes[0, 0].set_yticks(range(len(rows)), [f"{m} {p}" for m, p in rows], fontsize=6)
    bar = figure.colorbar(image, ax=list(axes[0]), shrink=0.8)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("kernel R², held out (synthetic)", fontsize=7)
    return figure


def _heat_map(ax: Axes, cells: list[list[R2 | None]]) -> AxesImage:
    """A cell that is `None` stays empty: the modality does not see that block."""
    values = [[float("nan") if r2 is None else r2.kernel for r2 in row] for row in cells]
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if not math.isnan(value):
                ink = "white" if value < 0.6 else "black"
                ax.text(x, y, f"{max(value, 0):.2f}", ha="center", va="center", fontsize=5, color=ink)
    return ax.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")


def _r2(runs: list[list[Cell]], worst: Callable[[Iterable[float]], float]) -> R2:
    linear = [fmean(c.linear for c in cells) for cells in runs]
    kernel = [fmean(c.kernel for c in cells) for cells in runs]
    return R2(
        fmean(linear),
        _spread(linear),
        fmean(kernel),
        _spread(kernel),
        worst(c.kernel for cells in runs for c in cells),
        len(runs),
    )


def _spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
