"""Looking at shards: counts, shapes and ranges as tables, and a contact sheet of some pairs.

Note:
    It shows what is stored, before any encoder's preprocessing; ranges are over every sample of the splits, the sheet
    over a few, drawn at random with the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import DataError
from pairalign.data.draw import as_array, draw_signal, lay_out, new_figure, signal_aspect
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.kinds import cloud_rows, kind_of, main_value, series_array
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.reader import RawSample
from pairalign.data.shards import read_samples
from pairalign.files import replacing

SHOWN = 4  # shapes that a table spells out


@dataclass
class Seen:
    """What was seen of one modality. shapes: count by shape, of a text by its number of words."""

    kinds: dict[str, int] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)
    shapes: dict[tuple[int, ...], int] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    values: int = 0

    @property
    def kind(self) -> str:
        """The kind of most samples."""
        return max(self.kinds, key=lambda kind: self.kinds[kind], default="")

    def add(self, kind: str, value: Any, content: int) -> None:
        """Count one sample."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.ids.add(content)
        array = (
            (as_array(value) if kind == "image" else np.asarray(value))
            if kind != "text"
            else np.zeros(len(str(value).split()))
        )
        self.shapes[array.shape] = self.shapes.get(array.shape, 0) + 1
        if kind == "text" or not array.size:
            return
        self.dtypes.add(str(array.dtype))
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        self.total, self.values = self.total + float(array.sum(dtype=np.float64)), self.values + array.size


@dataclass(frozen=True)
class Inspection:
    """What a folder holds. text: tables for a terminal. sheet: the contact sheet. seen: figures by modality. record:
    what the text says, for a program."""

    text: str
    sheet: Path
    seen: dict[str, Seen]
    record: dict[str, Any] = field(default_factory=dict)


@checked(DataError)
def inspect_pairs(
    folder: str | Path | Remote,
    *,
    splits: Sequence[str] | None = None,
    out: str | Path | None = None,
    samples: Count = 12,
    seed: Whole = 0,
    progress: bool = True,
) -> Inspection:
    """Read every sample of the splits (default all), tabulate them, and draw `samples` of them.

    out: PNG of the contact sheet, default `contact_sheet.png` in the folder, of an address in the current one. seed: of
    the choice of pairs.
    Raises `DataError` for an unknown split, no samples to draw, a damaged folder, or a place that cannot be written.
    """
    folder = find_place(folder)
    index = load_index(folder)
    names = list(dict.fromkeys(splits or index.splits))
    for name in names:
        index.split(name, folder)  # refuses one that is unknown or empty
    seen = {name: Seen() for name in index.modalities}
    bad: list[tuple[str, str]] = []
    chosen = _read(folder, index, names, seen, bad, samples, seed, progress)
    if not chosen:
        first = f"none of its samples can be read. First: {bad[0][0]}: {bad[0][1]}" if bad else "it holds no samples."
        raise DataError(f"{str(folder)!r}: {first}")
    home = folder if isinstance(folder, Path) else Path()
    path = Path(out) if out is not None else home / "contact_sheet.png"
    _draw(chosen, index, path)
    return Inspection(_describe(folder, index, names, seen, bad), path, seen, _record(index, names, seen, bad))


def _read(
    folder: ShardPlace,
    index: ShardIndex,
    splits: Sequence[str],
    seen: dict[str, Seen],
    bad: list[tuple[str, str]],
    samples: int,
    seed: int,
    progress: bool,
) -> list[tuple[str, RawSample]]:
    """One pass: tables over all, and `samples` of them kept by reservoir sampling (Vitter 1985, algorithm R)."""
    random, kept, count = np.random.default_rng(seed), list[tuple[str, RawSample]](), 0
    total = sum(index.every_split[name].count for name in splits)
    with tqdm(total=total, desc=f"inspect {folder.name}", unit="sample", disable=not progress) as bar:
        for split in splits:
            for sample in read_samples(folder, split, list(seen), on_bad=lambda key, why: bad.append((key, why))):
                for name, found in seen.items():
                    value = main_value(sample.values[name])
                    found.add(kind_of(value, index.modalities[name]), value, sample.ids[name])
                count += 1
                place = len(kept) if len(kept) < samples else int(random.integers(count))
                kept[place : place + 1] = [(split, sample)] if place < samples else kept[place : place + 1]
                bar.update()
    return kept


def _draw(chosen: Sequence[tuple[str, RawSample]], index: ShardIndex, path: Path) -> None:
    """One row a pair, one column a modality; the PNG appears whole or not at all."""
    names = list(index.modalities)
    figure, axes = new_figure(2.1 * len(names) + 1.0, 1.7 * len(chosen) + 0.4, len(chosen), len(names))
    figure.patch.set(facecolor="white", alpha=1.0)
    for row, (split, sample) in enumerate(chosen):
        for column, name in enumerate(names):
            ax, info = axes[row, column], index.modalities[name]
            value = main_value(sample.values[name])
            kind = kind_of(value, info)
            value = series_array(value, info) if kind == "series" else value
            value = cloud_rows(value, info) if kind == "points" else value
            draw_signal(ax, kind, value if kind == "text" else as_array(value))
            if kind != "image":
                ax.set_box_aspect(signal_aspect(kind, value))
            if not row:
                ax.set_title(name, fontsize=10)
        label = sample.meta.get("label")
        about = "\n".join(str(part) for part in (sample.key, split, label if isinstance(label, str) else None) if part)
        axes[row, 0].set_ylabel(about, rotation=0, ha="right", va="center", fontsize=8)
    with replacing(path) as partial:
        lay_out(figure).savefig(partial, format="png", dpi=110)


def _describe(
    folder: ShardPlace, index: ShardIndex, splits: Sequence[str], seen: dict[str, Seen], bad: Sequence[tuple[str, str]]
) -> str:
    counts = ", ".join(f"{name} {index.every_split[name].count}" for name in splits)
    lines = [f"{folder.name}: {sum(index.every_split[name].count for name in splits)} samples ({counts})"]
    lines += [f"synthetic: {'yes' if index.synthetic else 'no'}   licence: {index.licence or 'not recorded'}", ""]
    head = ("modality", "kind", "stored", "dtype", "unit", "rate", "distinct", "lowest", "mean", "highest", "shapes")
    rows = [head, *(_row(name, index, found) for name, found in seen.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if bad:
        lines += ["", f"{len(bad)} samples cannot be read:", *(f"  {key}: {reason}" for key, reason in bad[:10])]
    return "\n".join(lines)


def _record(
    index: ShardIndex, splits: Sequence[str], seen: dict[str, Seen], bad: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    modalities = {}
    for name, one in seen.items():
        info, mean = index.modalities[name], one.total / one.values if one.values else None
        shapes = [{"shape": shape, "samples": count} for shape, count in one.shapes.items()]
        figures = {"distinct": len(one.ids), "lowest": one.low, "mean": mean, "highest": one.high, "shapes": shapes}
        about = {"kind": one.kind, "stored": info.ext, "dtypes": one.dtypes, "unit": info.unit, "rate": info.rate}
        modalities[name] = about | figures
    counts = {name: index.every_split[name].count for name in splits}
    whole: dict[str, Any] = {"samples": counts, "synthetic": index.synthetic, "licence": index.licence}
    return {**whole, "modalities": modalities, "damaged": list(bad)}


def _row(name: str, index: ShardIndex, seen: Seen) -> tuple[str, ...]:
    info = index.modalities[name]
    shapes = sorted(seen.shapes, key=lambda shape: -seen.shapes[shape])
    if seen.kind == "text":
        lengths = [shape[0] for shape in shapes]
        spelt = f"{min(lengths)} to {max(lengths)} words"
    else:
        spelt = ", ".join("×".join(map(str, shape)) for shape in shapes[:SHOWN])
        spelt += f" and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else ""
    numbers = (seen.low, seen.total / seen.values, seen.high) if seen.values else ()
    ranges = tuple(f"{number:.4g}" for number in numbers) or ("", "", "")
    rate = f"{info.rate:g} Hz" if info.rate else ""
    stored = ("+".join(info.ext), "+".join(sorted(seen.dtypes)))
    return (name, seen.kind, *stored, info.unit or "", rate, str(len(seen.ids)), *ranges, spelt)
