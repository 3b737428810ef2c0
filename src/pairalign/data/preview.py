"""What a pack makes of each modality, as a table: kind, unit, shape, range and one example.

Shown for the first rows before hours of packing, where a wrong guess costs nothing, and for the whole when it is done.

Note:
    Kind is worked out from one example, as `kinds` does; shape and range from every row that was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.decode import decode
from pairalign.data.index import ModalityInfo, ShardIndex
from pairalign.data.kinds import kind_of, main_value
from pairalign.data.place import Remote
from pairalign.data.rows import Row
from pairalign.data.shards import read_samples
from pairalign.data.summary import modality_info
from pairalign.data.write import WriteOptions, bad_sample, encode_row, merge_stats

ROWS = 100
_HEAD = ("modality", "kind", "unit", "shape", "range", "example")
_WIDEST = 48  # characters of a cell


def preview(rows: Sequence[Row], options: WriteOptions, units: Mapping[str, Mapping[str, Any]]) -> str:
    """Encode some rows without writing them, and say what they hold; raise `DataError` for a bad one unless bad ones
    are skipped.
    """
    stats: dict[str, Any] = {}
    values: dict[str, Any] = {}
    bad: list[str] = []
    for row in rows:
        seen: dict[str, Any] = {}
        try:
            stored = encode_row(row, options, seen)[0]
        except DataError as error:
            if options.on_bad == "fail":
                raise bad_sample(row.key, error) from None
            bad.append(f"  bad: {row.key}: {error}")
            continue
        stats = merge_stats(stats, seen)
        for name in seen:
            if name not in values:
                values[name] = _example(name, dict(stored))
    infos = {name: modality_info(name, {**stats[name], "rate": []}, dict(units.get(name, {}))) for name in stats}
    said = [f"first {len(rows)} rows:", *table(infos, values), *bad[:5]]
    return "\n".join([*said, f"  … {len(bad) - 5} more are bad"] if len(bad) > 5 else said)


def describe(index: ShardIndex, folder: str | Path | Remote) -> str:
    """The same of a finished folder."""
    split = next(iter(index.splits))
    sample = next(iter(read_samples(folder, split, list(index.modalities), limit=1)))
    return "\n".join(table(index.modalities, {name: main_value(value) for name, value in sample.values.items()}))


def table(infos: Mapping[str, ModalityInfo], values: Mapping[str, Any]) -> list[str]:
    """A line for each modality, under a heading, from one main value of each."""
    rows = [_HEAD, *(_line(name, info, values.get(name)) for name, info in infos.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _line(name: str, info: ModalityInfo, value: Any) -> tuple[str, ...]:
    shape = (
        "×".join("?" if size is None else str(size) for size in info.shape)
        if info.shape is not None
        else "of several shapes"
    )
    shape = f"{shape or 'one number'} {info.dtype}" if info.dtype is not None else "-"
    low_high = f"{info.range[0]:.6g} to {info.range[1]:.6g}" if info.range is not None else "-"
    unit = info.unit or "-"
    unit = f"{unit}, {info.rate:g} Hz" if info.rate else unit
    return (name, kind_of(value, info), unit, shape, low_high, _short(value))


def _short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, str):
        text = repr(value)
    elif hasattr(value, "getbands"):
        text = f"{value.width}×{value.height} {value.mode}"
    elif isinstance(value, (dict, list)):
        text = str(value)
    else:
        flat = np.asarray(value).reshape(-1)
        text = ", ".join(f"{number:.6g}" for number in flat[:4].tolist()) + (", …" if flat.size > 4 else "")
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _example(name: str, stored: Mapping[str, bytes]) -> Any:
    """The stored main value of one modality, or its last frame, as `main_value` has it."""
    found = None
    for field, data in stored.items():
        stem, _, extension = field.rpartition(".")
        if stem == name or stem.removeprefix(f"{name}.").isdigit():
            found = (extension, data)
            if stem == name:
                break
    return decode(*found) if found else None
