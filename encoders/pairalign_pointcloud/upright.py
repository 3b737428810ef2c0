"""Which axis points up: the names "+x" to "-z", and the rotation that takes one to another.

Note:
    A quarter turn about the axis that is square to both, so that the third axis stays; for opposite ones a half turn
    about the first axis that is neither.
"""

from __future__ import annotations

import numpy as np

from pairalign.core.errors import SignalError, did_you_mean

UPS = ("+x", "-x", "+y", "-y", "+z", "-z")


def as_up(name: str, where: str) -> str:
    """The full name of an axis, of which "z" is "+z"; raise `SignalError` for another word."""
    full = name if name.startswith(("+", "-")) else f"+{name}"
    if full not in UPS:
        raise SignalError(f"{where}: up={name!r}.{did_you_mean(name, UPS)}")
    return full


def axis_of(up: str) -> int:
    """The number of the axis, without its sign."""
    return UPS.index(up) // 2


def turn_between(here: str, there: str) -> np.ndarray:
    """The rotation (3, 3) that takes the axis `here` to the axis `there`."""
    a, b = (_vector(name) for name in (here, there))
    if here == there:
        return np.eye(3)
    if axis_of(here) == axis_of(there):
        kept = _vector(next(up for up in UPS[::2] if axis_of(up) != axis_of(here)))
        return 2 * np.outer(kept, kept) - np.eye(3)
    c = np.cross(a, b)
    return np.outer(b, a) - np.outer(a, b) + np.outer(c, c)


def _vector(up: str) -> np.ndarray:
    vector = np.zeros(3)
    vector[axis_of(up)] = 1.0 if up[0] == "+" else -1.0
    return vector
