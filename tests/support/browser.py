"""Pages in a real browser: each at three widths, light and dark, in one start of Chromium, and what is wrong there.

Note:
    Each page stands in a frame of that width, everything unfolded; frames get their colour scheme from the element that
    holds them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 1400, 1920)
SCHEMES = ("light", "dark")
SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def seen(pages: Mapping[str, str], folder: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    """By page, width and colour scheme what a visitor meets; `folder/shot.png` is a picture of the first frames.

    Lists of what is wrong: `clipped`, `small`, `pale`, `unlabelled`; numbers: `answer` and `first` are how far down, in
    pixels, the answer and the first verdict end, folded; `folded` and `unfolded` the heights of the page.
    """
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None and not os.environ.get("PAIRALIGN_REQUIRE_CHROMIUM"):
        pytest.skip("no chromium on this machine")
    assert browser, "PAIRALIGN_REQUIRE_CHROMIUM is set, and neither Chromium nor Chrome is on the path"
    keys = [(name, width, scheme) for name in pages for width in WIDTHS for scheme in SCHEMES]
    frames = "".join(
        f'<iframe style="display:block;border:0;width:{width}px;height:900px;color-scheme:{scheme}" '
        f'srcdoc="{escape(pages[name], quote=True)}"></iframe>'
        for name, width, scheme in keys
    )
    harness = folder / "harness.html"
    harness.write_text(f"<!doctype html><body style='margin:0'>{frames}<pre></pre><script>{SCRIPT}</script>", "utf-8")
    how = [*FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1920,5400"]
    how += [f"--screenshot={folder / 'shot.png'}", "--dump-dom", harness.as_uri()]
    done = subprocess.run([browser, *how], check=True, capture_output=True, timeout=300, text=True)
    found = re.findall(r"<pre>(.*?)</pre>", done.stdout, flags=re.S)
    return dict(zip(keys, json.loads(unescape(found[-1])), strict=True))


def faults(found: Mapping[tuple[str, int, str], Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that is wrong anywhere, by place."""
    kinds = ("clipped", "small", "pale", "unlabelled")
    return {f"{key}: {kind}": one[kind] for key, one in found.items() for kind in kinds if one[kind]}
