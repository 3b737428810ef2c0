"""The page parses, loads nothing, escapes all text, shows every number; files appear whole or not at all."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import SCHEMES, WIDTHS, faults, seen

from pairalign.core.errors import DataError, StorageError
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.pictures import Neighbours, draw_gates, draw_neighbours, draw_recall
from pairalign.evaluate.report import (
    SYNTHETIC,
    Report,
    Signal,
    inline_svg,
    plain,
    text_table,
    write_metrics,
    write_text,
)
from pairalign.evaluate.space_map import draw_map
from pairalign.evaluate.verdicts import verdict_of

VOID = {"meta", "br", "img", "hr", "link", "input"}
GOOD = Score(0.931, 0.9, 0.96, 200, 0.05)
LOW = Score(0.02, 0.01, 0.03, 200, 0.05)


class Page(HTMLParser):
    """Collects what a page loads and says, and that every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "srcset") and v]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        opened = self.stack.pop()
        assert opened == tag, f"<{opened}> closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def full_report() -> Report:
    generator = torch.Generator().manual_seed(0)
    picture = np.random.default_rng(0).random((8, 8, 3))
    report = Report("Stage <one>", "Trained & measured.", synthetic=True, note="Not connected.")
    verdict = verdict_of("a – b", "trained", "nearest agrees in <shape>", {"there": GOOD, "back": LOW})
    report.answered("1 of 1 edges is not above chance.", False).judged("test: 200 samples", [verdict], "No controls.")
    report.fact("seed", 0).fact("samples", "1,000")
    report.section("Retrieval", "The `R@1` of <b>each</b> edge.")
    report.table(
        ["edge", "R@1", "n", "gap"],
        [["a → b", GOOD, 200, 0.25], ["b → c", None, 7, float("nan")]],
        "Held out.",
    )
    report.picture(draw_recall({"a → b": {"R@1": GOOD}}, ["a → b"]), "Recall.", 'bars "of" recall, .931')
    report.section("Every kind of question")
    wide = ["touch pairs: compare_hardness", 60, *[Score(0.778, 0.66, 1, 60)] * 5]
    report.table(["question", "n", "base", "dormant", "full tuning", "bridge only", "recomposition"], [wide])
    report.section("Neighbours")
    row = Neighbours("a <script>", [picture, picture], [True, False])
    report.picture(draw_neighbours([row], ("text", "text"), ("image", "image")), alt="1 of 2 right")
    asked, right = Signal("text", "a <script>", "a, asked", mark="query"), Signal("image", picture, "b 1", mark="right")
    report.cards([[asked, right, right]], "The nearest.")
    report.section("Space")
    space = draw_map({"m": torch.randn(9, 4, generator=generator)}, {"f": {"m": list("abcabcabc")}})
    report.picture(space, alt="a 3, b 3, c 3")
    report.picture(draw_gates({"a-b": torch.rand(6, generator=generator)}), alt="6 in use")
    return report


@pytest.fixture(scope="module")
def html() -> str:
    return full_report().html()


def test_every_tag_is_closed_and_every_part_is_there(html: str) -> None:
    page = Page(html)
    assert page.tags.count("svg") == 7  # four charts, two thumbnails, and what is stored for these
    assert page.tags.count("image") == html.count("<image")
    assert page.tags.count("details") == 4
    assert html.count("data:image/webp") == 1 + html.split('class="store"')[0].count("data:image/webp")
    words = " ".join(" ".join(page.words).split())
    header = ("Stage <one>", "Trained & measured.", SYNTHETIC, "Not connected.", "1,000")
    body = ("Held out.", ".931 .900–.960 chance .050", "below chance .050", "a → b", "in use", "agrees in <shape>")
    for part in (*header, *body):
        assert part in words, part


def test_the_page_loads_nothing_from_anywhere(html: str) -> None:
    for target in Page(html).loads:
        assert target.startswith(("#", "data:image/png;base64,", "data:image/webp;base64,")), target[:80]
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", html)
    assert "<script" not in html.lower()


def test_text_from_the_run_is_escaped_everywhere() -> None:
    evil = "\"'><img src=x onerror=alert(1)>&"
    report = Report(evil, evil, note=evil).fact(evil, evil).section(evil, evil)
    report.table([evil, "n"], [[evil, 1]], evil)
    report.picture(draw_gates({evil: torch.ones(2)}), evil, evil)
    report.cards([[Signal("text", evil, evil), Signal("image", np.ones((2, 2)), evil, evil, "right")]], evil)
    report.answered(evil, None).judged(evil, [verdict_of(evil, evil, evil, {evil: GOOD}, evil)], evil)
    page = Page(report.html())
    assert "img" not in page.tags
    assert sum("<img src=x" in word for word in page.words) >= 19


def test_pictures_take_the_colours_and_letters_of_the_page() -> None:
    svg = inline_svg(draw_recall({"a": {"R@1": GOOD}}))
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "var(--line)" in svg
    assert "DejaVu" not in svg
    assert "R@1</text>" in svg  # text stays text
    assert "xmlns" not in svg


def test_same_report_same_bytes() -> None:
    assert full_report().html() == full_report().html()


def test_scores_out_of_unit_range_have_no_bar_and_their_place_against_chance_is_marked() -> None:
    def cell(score: Score) -> str:
        return Report("t").section("s").table(["x"], [[score]]).html().split("<body>")[1]

    assert 'class="bar"' in cell(GOOD)
    assert 'class="score"' in cell(GOOD)
    assert 'class="score at"' in cell(Score(0.06, 0.04, 0.08, 200, 0.05))
    assert 'class="score below"' in cell(LOW)
    assert 'class="bar"' not in cell(Score(-0.1, -0.2, 0.1, 50, 0.0))


def test_a_score_is_read_out_as_one_sentence() -> None:
    page = Report("t").section("s").table(["x"], [[LOW]]).html()
    assert 'aria-label="0.020, 95 % interval 0.010 to 0.030, chance 0.050, n 200, below chance"' in page


def test_nothing_reads_minus_zero() -> None:
    rows = [[-0.0, -0.00001, Score(-0.0, -0.0, 0.0, 3), -0.0004]]
    page = Report("t").section("s").table(["a", "b", "c", "d"], rows).html()
    words = "".join(Page(re.sub("<style>.*?</style>", "", page, flags=re.S)).words)
    assert "-4e-04" in words
    assert not re.search(r"[-−](0?\.0+|0)(?![\d.e])", words + text_table(["a", "b", "c", "d"], rows))
    assert "-0.0" not in json.dumps(plain({"lost": -0.0}))


def test_a_sentence_about_success_is_in_no_template() -> None:
    """Over scores at chance nothing says that it works."""
    page = Report("t", synthetic=True).section("s").table(["x"], [[Score(0.06, 0.04, 0.08, 200, 0.05)]]).html()
    words = " ".join(Page(page).words)
    assert not re.search(r"works|success|intended|learned|above chance", words.split("}")[-1])


def test_text_table_aligns_numbers_to_the_right() -> None:
    table = text_table(["edge", "R@1", "n"], [["a → b", GOOD, 200], ["longer name", None, 7.5]], "Recall")
    assert table.splitlines() == [
        "Recall",
        "edge                                  R@1    n",
        "───────────  ────────────────────────────  ───",
        "a → b        0.931 [0.900, 0.960] / 0.050  200",
        "longer name                             –  7.5",
    ]


def test_metrics_are_sorted_plain_and_null_where_not_a_number(tmp_path: Path) -> None:
    metrics: dict[str, Any] = {
        "b": torch.tensor([1.0, math.nan]),
        "a": {
            "score": GOOD,
            "inf": math.inf,
            "flag": True,
            "path": Path("x/y"),
            "n": np.int64(3),
            "none": None,
        },
        "c": (np.float32(0.5), {2, 1}),
    }
    path = write_metrics(tmp_path / "deep" / "metrics.json", metrics)
    text = path.read_text()
    assert list(json.loads(text)) == ["a", "b", "c"]
    assert json.loads(text)["b"] == [1.0, None]
    assert json.loads(text)["c"] == [0.5, [1, 2]]
    record = json.loads(text)["a"]
    assert record["score"]["chance"] == 0.05
    assert (record["inf"], record["flag"], record["path"], record["n"]) == (None, True, "x/y", 3)
    with pytest.raises(DataError, match="object cannot be written"):
        write_metrics(tmp_path / "bad.json", {"x": object()})
    assert not (tmp_path / "bad.json").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "report.html", "old")

    def full_disk(self: Path, *_: Any, **__: Any) -> int:
        with self.open("w") as file:
            file.write("ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        Report("t").write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_with_a_short_row_is_named() -> None:
    with pytest.raises(DataError, match="row 1 has 1 cells for 2 headers"):
        Report("t").table(["a", "b"], [[1, 2], [3]])
    with pytest.raises(DataError, match="row 0"):
        text_table(["a"], [[1, 2]])


@pytest.mark.slow
def test_a_real_browser_shows_everything_at_every_width_light_and_dark(html: str, tmp_path: Path) -> None:
    found = seen({"all": html}, tmp_path)
    assert list(found) == [("all", width, scheme) for width in WIDTHS for scheme in SCHEMES]
    assert faults(found) == {}
    for one in found.values():  # on the first screen
        assert one["answer"] < one["first"] < 700
    from PIL import Image

    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
    assert shot.shape[1] == 1920
    light, dark = shot[:900, :390], shot[900:1800, :390]
    assert light.mean() > 200 > 80 > dark.mean()
    for part in (light, dark):  # bars and words, not a blank page
        assert (part.max(2) - part.min(2) > 80).mean() > 0.005
