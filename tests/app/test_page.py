"""The page to try a pack, in the browser that is there: a signal dropped, asked about, and read, on a phone too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage_two import short_run

import pairalign as pa
from pairalign.data.world import World

pytestmark = pytest.mark.slow
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDE = """() => {
  const page = document.documentElement, seen = page.clientWidth
  if (page.scrollWidth <= seen) return []
  const found = [...document.querySelectorAll('*')].map(e => [Math.round(e.getBoundingClientRect().right), e])
  return found.filter(([right]) => right > seen + 1).sort((a, b) => b[0] - a[0]).slice(0, 4)
    .map(([right, e]) => `${right} ${e.tagName}.${e.className} in ${(e.parentElement?.closest('[id]') || {}).id}`)
}"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def address(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the command itself, on a pack of touches."""
    folder = tmp_path_factory.mktemp("packs")
    run = short_run(setup, folder / "run", dormant={"score": "magnitude", "structure": "rows", "density": 0.2})
    words = ["try", str(pa.export_pack(run, folder / "touch")), "--base", str(setup / "base"), "--tokens", "4"]
    words += [
        "--pairs",
        str(setup / "demo" / "pairs" / "pool"),
        "--split",
        "test",
        "--run",
        str(setup / "demo" / "run"),
    ]
    told: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "TMPDIR": str(folder)}}
    process = subprocess.Popen([sys.executable, "-m", "pairalign", *words, "--device", "cpu"], **told)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        assert "PAIRALIGN_REQUIRE_CHROMIUM" not in os.environ, "no browser"
        pytest.skip("no browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_drop_ask_and_read(address: str, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    picture = tmp_path / "press.png"
    World(seed=9).sample(0, None, ("touch",))["touch"].save(picture)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, elsewhere = context.new_page(), []
    page.on(
        "request",
        lambda asked: elsewhere.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None,
    )
    page.set_default_timeout(100_000)
    page.goto(address)
    page.set_input_files("#recording input[type=file]", str(picture))
    page.wait_for_selector("#about:has-text('touch: image, 48 × 48 × 3')")
    page.wait_for_selector("#near :text('touch')")  # the nearest, with their cosines
    page.focus("#question textarea")
    page.keyboard.type("what is its surface like?")
    page.keyboard.press("Enter")  # by keyboard alone
    page.wait_for_selector("#chat .bot")
    page.click("#compare")
    for signal in ("touch: blank", "touch: another's", "no signal"):
        page.locator("#compared", has_text=signal).wait_for()
    page.fill("#words textarea, #words input", "rough, smooth")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chances :text('%')")
    wide = page.evaluate(WIDE)
    assert not wide, "; ".join(wide)  # or it has to be moved sideways
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, re.findall(r"\d+", dark)[:3]))
    assert (shade < 200) == (scheme == "dark"), dark
    assert not elsewhere
    context.close()


def test_what_is_no_signal_is_told_on_the_page(address: str, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no touch")
    page = browser.new_page()
    page.set_default_timeout(100_000)
    page.goto(address)
    page.set_input_files("#recording input[type=file]", str(tmp_path / "notes.txt"))
    page.wait_for_selector("[data-testid=toast-body]")
    assert "notes.txt is no signal of 'touch'" in page.inner_text("[data-testid=toast-body]")
    assert "No signal yet." in page.inner_text("#about")
    page.close()
