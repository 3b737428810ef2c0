"""A raw signal as a picture that a page shows, with a sentence that says what it is to those who cannot see it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from pairalign.core.types import Signal
from pairalign.data.arrays import plain_array
from pairalign.data.draw import draw_signal, lay_out, new_figure, signal_aspect
from pairalign.data.kinds import main_value


def picture_of(signal: Signal, value: Any) -> Image.Image:
    """Drawn as reports draw it."""
    value = main_value(value)
    figure, axes = new_figure(3.2, 3.2 * signal_aspect(signal.kind, value))
    figure.patch.set(alpha=1.0, facecolor="white")
    draw_signal(axes[0, 0], signal.kind, value)
    buffer = io.BytesIO()
    lay_out(figure).savefig(buffer, format="png", dpi=110)
    return Image.open(buffer).convert("RGB")


def told(sensor: str, signal: Signal, value: Any) -> str:
    """ "touch: image, 48 × 48, in kPa, from 0 to 12.5"."""
    value = main_value(value)
    if isinstance(value, str):
        return f"{sensor}: {value}"
    array = plain_array(value) if not isinstance(value, Image.Image) else np.asarray(value)
    size = " × ".join(map(str, array.shape))
    unit = "" if signal.unit in ("", "1") else f" in {signal.unit}"
    return f"{sensor}: {signal.kind}, {size}{unit}, from {array.min():.4g} to {array.max():.4g}"
