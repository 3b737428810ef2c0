"""One signal as a small picture for a page, in the pixels that it is shown with.

Note:
    Text is no picture and stays text; what is not an image is drawn by matplotlib, some tens of milliseconds each.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pairalign.data.draw import draw_signal, new_figure, picture_array, signal_aspect

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 160  # the longer side: sharp at 8 rem on most screens


def thumbnail(kind: str, value: Any) -> Image | None:
    """A picture of a signal of this kind, as `draw_signal` takes it; `None` for text."""
    import numpy as np
    from PIL import Image

    if kind == "text":
        return None
    if kind == "image":
        pixels = np.rint(picture_array(value) * 255).clip(0, 255).astype("uint8")
        picture = Image.fromarray(pixels)
        picture.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS)
        return picture
    figure, axes = new_figure(1.35, 1.35 * signal_aspect(kind, value), left=0.01, right=0.99, bottom=0.01, top=0.99)
    for spine in axes[0, 0].spines.values():
        spine.set_visible(False)
    draw_signal(axes[0, 0], kind, value)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True, dpi=PIXELS / 1.35)
    return Image.open(buffer)
