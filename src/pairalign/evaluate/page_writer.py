"""The templates of `templates/` filled in: everything but a chart's own SVG is escaped there.

Note:
    A template that asks for what a block has not is an error, not an empty place.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from pairalign.evaluate.blocks import Picture


def render(template: str, **values: Any) -> str:
    """A template of the package as HTML."""
    return _environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("pairalign.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"inline": inline, "labelled": _labelled}
    return made


def inline(text: Any) -> Markup:
    """Escaped text; `words` in backticks are set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _labelled(svg: str, block: Picture) -> Markup:
    """A chart with its title and its figures in words, as a screen reader gets them."""
    from markupsafe import Markup, escape

    ids = f"{block.name}t {block.name}d" if block.told else f"{block.name}t"
    words = f'<title id="{block.name}t">{escape(block.title)}</title>'
    words += f'<desc id="{block.name}d">{escape(block.told)}</desc>' if block.told else ""
    opened = svg.replace("<svg", f'<svg role="img" aria-labelledby="{ids}"', 1)
    return Markup(opened.replace(">", f">{words}", 1))
