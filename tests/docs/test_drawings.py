"""Drawings can be read: by those who hear them, in light and dark, and on a phone; and each is on a page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"
PHONE = 358  # pixels of a page's column on a screen of 390


@pytest.mark.parametrize("path", sorted((DOCS / "drawings").glob("*.svg")), ids=lambda path: path.stem)
def test_a_drawing_is_told_follows_the_colours_and_is_large_enough(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    parts = {part.get("id"): part for part in root if part.tag in (f"{SVG}title", f"{SVG}desc")}
    assert root.get("role") == "img"
    assert list(parts) == (root.get("aria-labelledby") or "").split()
    assert all(len(part.text or "") > 20 for part in parts.values())
    assert "prefers-color-scheme: dark" in text
    assert "text { fill: currentColor" in text
    width = float((root.get("viewBox") or "").split()[2])
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: *(\d+)px", text)]
    assert sizes
    assert min(sizes) * PHONE / width >= 10
    assert "\n\n" not in text  # a blank line would end the block of HTML that it is set into
    assert any(f"drawings/{path.name})" in page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
