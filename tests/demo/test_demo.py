"""The demo, small: every part of it runs, a second call goes on, and what it prints is what it wrote."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import faults, seen

import pairalign.demo.run as demo
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig
from pairalign.core.errors import ConfigError
from pairalign.data.index import load_index
from pairalign.demo.run import Demo, DemoSize, demo_config, figures, run_demo
from pairalign.demo.stage_two import METHODS, LessonSize, lesson_figures, points_of
from pairalign.evaluate.run import Evaluation
from pairalign.evaluate.verdicts import headline

pytestmark = pytest.mark.slow

SIZE = DemoSize(train=96, pool=40, steps=4, lessons=LessonSize(train=48, held=16, steps=4))
OVERRIDES = ("train.batch_size=24",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def made(folder: Path) -> Demo:
    """By the command itself, whose sizes are these here."""
    found: list[Demo] = []

    def run(*args: Any, **settings: Any) -> Demo:
        found.append(run_demo(*args, **settings))
        return found[0]

    words = [*shlex.split("pairalign demo --fast --out demo")[1:-1], str(folder), *OVERRIDES, "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FAST", SIZE)
        patch.setattr(demo, "run_demo", run)
        assert main([*words, "--quiet"]) == 0
    return found[0]


@pytest.fixture(scope="module")
def found(made: Demo) -> Evaluation:
    return made.evaluation


def test_no_training_pair_shows_more_than_two_modalities(found: Evaluation, folder: Path) -> None:
    config = demo_config(folder, SIZE, 0)
    assert {edge.between for edge in config.edges} == {("image", "text"), ("image", "touch"), ("text", "points")}
    for edge in config.edges:
        index = load_index(folder / "pairs" / edge.shards)
        assert set(index.modalities) == set(edge.between)
        assert index.splits["train"].count == SIZE.train


def test_all_six_pairs_are_measured_three_of_them_emergent(found: Evaluation) -> None:
    for split in ("test", "novel"):
        pairs = found.metrics["pools"][f"pool/{split}"]["pairs"]
        status = {frozenset(name.split("-")): pair["status"] for name, pair in pairs.items()}
        emergent = {ends for ends, kind in status.items() if kind == "emergent"}
        assert len(status) == 6
        assert emergent == {
            frozenset({"touch", "text"}),
            frozenset({"touch", "points"}),
            frozenset({"image", "points"}),
        }


def test_the_report_says_synthetic_and_the_files_agree(made: Demo, found: Evaluation, folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "drawn by a program" in page.lower()
    assert "What each gate keeps: pool/test" in page
    assert "Drawn from another sense" in page
    assert page.index("touch → image: source, truth") < page.index(
        "control: only image", page.index("touch → image: so")
    )
    drawn = json.loads((folder / "drawings" / "text-image" / "translation.json").read_text())
    assert drawn["factors"]["colour"]["seen_by"] == {"text": True, "image": True}
    assert json.loads((folder / "metrics.json").read_text())["synthetic"] is True
    written = json.loads((folder / "figures.json").read_text())
    assert written == pytest.approx({**figures(found), **lesson_figures(made.lessons)})
    assert written["test: chance of it, forward"] == pytest.approx(1 / 3, abs=0.15)


def test_stage_two_teaches_by_every_method_and_keeps_the_bases_weights(made: Demo, folder: Path) -> None:
    assert list(made.lessons) == list(METHODS)
    for run in made.lessons.values():
        assert set(run.results["after"]["validation"]) == {"touch", "touch pairs", "points"}
        assert set(run.results["after"]["held_out"]) == {"image", "text", "words"}
    assert json.loads((folder / "stage_two" / "dormant" / "receipt.json").read_text())["clean"]
    for name in ("bridge only", "recomposition"):
        assert made.lessons[name].results["forgetting"]["points"] == 0
        assert made.lessons[name].results["trained"] == 0
    taken = {name: set(run.results["base_from"]) for name, run in made.lessons.items()}
    held_out = {"held_out/image", "held_out/text", "held_out/words"}
    sensed = {"validation/touch", "validation/touch pairs", "validation/points"}
    assert taken == {
        "dormant": set(), "full tuning": held_out | sensed, "bridge only": held_out | sensed, "recomposition": held_out
    }  # fmt: skip
    against = points_of(made.lessons)
    assert against["dormant"][0] == pytest.approx(made.lessons["dormant"].results["learning"]["points"])
    base = made.lessons["dormant"].results["base"]["validation"]
    after = made.lessons["recomposition"].results["after"]["validation"]
    gained = [100 * (after[task]["accuracy"] - base[task]["accuracy"]) for task in base]
    assert against["recomposition"][0] == pytest.approx(sum(gained) / len(gained))


def test_the_shipped_base_knows_pictures_texts_and_words_but_no_touch(made: Demo) -> None:
    base = made.lessons["dormant"].results["base"]
    assert min(score["accuracy"] for score in base["held_out"].values()) >= 0.9
    assert base["validation"]["touch"]["accuracy"] < 0.5


def test_the_page_of_stage_two_shows_answers_methods_layers_and_drift(made: Demo) -> None:
    assert made.page is not None
    page = made.page.read_text()
    for words in ("drawn by a program", "Questions about touches", "Learning and forgetting", "recomposition", "Drift"):
        assert words in page or words.lower() in page.lower()
    assert page.count('<figure class="picture">') == 4
    assert page.count("<use ") == 8
    assert "What the sensor costs" in page
    assert page.count("identical: all ") == 2 * 9  # three tasks of all but full tuning, as a verdict and in the table
    assert page.count("not compared with the base: method ") == 2 * 3
    assert "touch: hardness" in page


def test_the_demos_pack_answers_on_the_command_line(
    made: Demo, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ask", str(folder / "pack"), "--touch", str(folder / "touch.png"), "--tokens", "8", "how hard is it?"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip()


def test_both_pages_show_everything_in_a_real_browser_and_claim_nothing_that_a_verdict_does_not_say(
    made: Demo, found: Evaluation, folder: Path, tmp_path: Path
) -> None:
    pages = {name: (folder / f"{name}.html").read_text() for name in ("report", "stage_two")}
    shown = seen(pages, tmp_path)
    assert faults(shown) == {}
    for (_, width, _), one in shown.items():
        assert one["answer"] < one["first"] < (900 if width > 600 else 1000)
    assert all("method works" not in page for page in pages.values())
    verdicts = [one for pool in found.metrics["pools"].values() for one in pool["verdicts"]]
    assert headline(verdicts, len(found.metrics["pools"]))[0] in pages["report"]
    written = json.loads((folder / "metrics.json").read_text())["pools"]
    assert [one["word"] for pool in written.values() for one in pool["verdicts"]] == [
        one.word for name in written for one in found.metrics["pools"][name]["verdicts"]
    ]
    kinds = made.lessons["dormant"].results["after"]["validation"]["touch"]["kinds"]
    assert all(0 < score["chance"] <= 1 for score in kinds.values())


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        run_demo(tmp_path, size=SIZE, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_call_trains_nothing_again_and_prints_what_the_first_found(
    found: Evaluation, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "FAST", SIZE)
    model = folder / "run" / "model.safetensors"
    before = model.stat().st_mtime_ns
    assert main(["demo", "--fast", "--out", str(folder), "--quiet", *OVERRIDES]) == 0
    printed = capsys.readouterr().out
    for name, value in figures(found).items():
        assert f"{name:<60}{value:6.3f}" in printed
    assert "stage two: forgetting, dormant" in printed
    assert str(folder / "report.html") in printed
    assert str(folder / "stage_two.html") in printed
    assert model.stat().st_mtime_ns == before


def test_a_wrong_setting_is_refused_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fast", "--out", str(tmp_path / "d"), "train.stepz=3"]) == 2
    assert "Did you mean 'steps'" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_the_packaged_configuration_is_the_one_that_is_documented(folder: Path) -> None:
    config = demo_config(folder, DemoSize(), 3)
    assert isinstance(config, AlignConfig)
    assert config.seed == 3
    assert replace(config, seed=0) == demo_config(folder, DemoSize(), 0)
