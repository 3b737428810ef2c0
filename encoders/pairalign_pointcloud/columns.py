"""What the columns of a cloud are: names read from a word such as "xyzrgb", and values that keep what the names claim.

Colours are given to the networks in [0, 1]: whole numbers are taken as 0 to 255, fractions as 0 to 1.

Note:
    That rule looks at one cloud, so fractions beyond 1 are refused, and not taken for either; say which with `colours`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pairalign.core.errors import ConfigError, SignalError

XYZ, NORMAL, COLOUR = ("x", "y", "z"), ("nx", "ny", "nz"), ("r", "g", "b")
LAYOUTS = {
    "xyz": XYZ,
    "xyznormal": XYZ + NORMAL,
    "xyzrgb": XYZ + COLOUR,
    "xyzrgbnormal": XYZ + COLOUR + NORMAL,
    "xyznormalrgb": XYZ + NORMAL + COLOUR,
}
COLOURS = ("auto", "unit", "bytes")
MOST_COLUMNS = 9
TOLERANCE = 0.02
"""Largest error of a normal's length: normals stored in eight bits keep it."""

_WORDS = {"normal": NORMAL, "normals": NORMAL, "intensity": ("intensity",), "i": ("intensity",)}
_TOKEN = re.compile(r"normals?|intensity|nx|ny|nz|[xyzrgbai]")
_SPELT = {"red": "r", "green": "g", "blue": "b", "alpha": "a", "normal_x": "nx", "normal_y": "ny", "normal_z": "nz"}


def parse_columns(text: str) -> tuple[str, ...] | None:
    """Names of the columns that a word such as "xyzrgb" or "x,y,z,nx,ny,nz" lists; None if it lists none."""
    plain = re.sub(r"[\s,;_+-]", "", text.lower())
    tokens = _TOKEN.findall(plain)
    if not tokens or "".join(tokens) != plain:
        return None
    names = tuple(name for token in tokens for name in _WORDS.get(token, (token,)))
    return names if names[:3] == XYZ and len(set(names)) == len(names) else None


def spelt(name: str) -> str:
    """The short name of a field, as `normal_x` of a PLY file or `red`."""
    return _SPELT.get(name.lower(), name.lower())


def layout(columns: str | None, normals: bool) -> str:
    """The layout that the options `columns` and `normals` ask for; raise `ConfigError` where they disagree."""
    if columns is None:
        return "xyznormal" if normals else "xyz"
    names = parse_columns(columns)
    for known, own in LAYOUTS.items():
        if names == own:
            if normals and "nx" not in own:
                raise ConfigError(f"columns={columns!r} holds no normals, normals=True asks for them: leave one out.")
            return known
    raise ConfigError(f"columns={columns!r}: a network reads one of {', '.join(LAYOUTS)}.")


def take_columns(values: np.ndarray, names: Sequence[str] | None, wanted: Sequence[str]) -> np.ndarray:
    """The columns `wanted` of values (M, C): by name where the names are known, else the first ones."""
    if names is None:
        return values[:, : len(wanted)]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise SignalError(
            f"point cloud: has the columns {', '.join(names)} and no {', '.join(missing)}: set the encoder's columns "
            "to what the data holds, or pack clouds that hold them."
        )
    return values[:, [list(names).index(name) for name in wanted]]


def check_normals(normals: np.ndarray, first: int) -> None:
    """Raise `SignalError` unless every row of normals (M, 3) has length 1. first: number of their first column."""
    length = np.linalg.norm(normals, axis=1)
    wrong = np.abs(length - 1) > TOLERANCE
    if wrong.any():
        row = int(wrong.argmax())
        raise SignalError(
            f"point cloud: columns {first + 1} to {first + 3} are to be normals of length 1, and {int(wrong.sum())} of "
            f"{len(wrong)} are not: point {row} has {np.array2string(normals[row], precision=4)}, of length "
            f"{length[row]:.4g}. If these are colours, set columns='xyzrgb'; else pack unit normals, or set 'xyz'."
        )


def unit_colours(colours: np.ndarray, whole: bool, scale: str) -> np.ndarray:
    """Colours (M, 3) in [0, 1]. whole: stored as whole numbers. scale: "unit", "bytes", or "auto" to see it."""
    low, high = float(colours.min()), float(colours.max())
    if scale == "auto":
        scale = "bytes" if whole or (high > 1 and not (colours % 1).any()) else "unit"
    most = 255.0 if scale == "bytes" else 1.0
    if low < 0 or high > most:
        value = low if low < 0 else high
        raise SignalError(
            f"point cloud: holds a colour of {value:.6g}, colours go from 0 to {most:g} here (colours='{scale}'): pack "
            "colours in 0 to 1 or in 0 to 255, or set the encoder's colours to 'unit' or 'bytes'."
        )
    return colours / most
