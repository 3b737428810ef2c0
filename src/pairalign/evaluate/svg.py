"""A matplotlib figure as SVG within an HTML page: text as text, ink in the page's colours, pictures small.

Note:
    The figure keeps its size on every screen, so that its letters stay legible; on a narrow one the page scrolls it.
    Names of groups are dropped, for many figures share one page and names must be its only ones.
"""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

from pairalign.data.draw import INK, LINE, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

QUALITY = 82  # of WebP: no difference is seen at the size of a thumbnail
COLOURS = 64  # of a chart's rasterised marks


def inline_svg(figure: Figure) -> str:
    """The figure as an SVG element of an HTML page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pairalign"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.S)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"data:image/png;base64,([^\"]+)", lambda found: _smaller(found[1]), svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    svg = re.sub(r"(?<=<)path [^>]*", lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    for colour, name in ((INK, "currentColor"), (LINE, "var(--line)"), (MUTED, "var(--muted)")):
        svg = svg.replace(colour, name)
    width = figure.get_size_inches()[0] * 96
    return re.sub(r">\s+<", "><", svg.replace("<svg", f'<svg style="width:{width:.0f}px"', 1)).strip()


def data_uri(picture: Image) -> str:
    """A picture as an address that holds it: WebP, or PNG where Pillow was built without."""
    from PIL import features

    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    picture.save(buffer, kind, **({"quality": QUALITY} if kind == "webp" else {"optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _smaller(png: str) -> str:
    """An embedded PNG again where that is smaller: marks on transparent ground in few colours, photos as WebP."""
    from PIL import Image

    old = f"data:image/png;base64,{png}"
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    if picture.getchannel("A").getextrema()[0] == 255:
        return min(old, data_uri(picture.convert("RGB")), key=len)
    buffer = io.BytesIO()
    picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(buffer, "png", optimize=True)
    return min(old, f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}", key=len)
