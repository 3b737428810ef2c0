"""A merged model is measured as what it is; several packs merge where they share no weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import IMAGE, TOUCH, short_run

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core.errors import DormantError, PackError
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.irrelevant import POSITIONS, SignalQuestions, first_of, gather_signals
from pairalign.finetune.measure import measure_task
from pairalign.finetune.questions import Questions
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.tasks import Task

ROWS = {"score": "magnitude", "structure": "rows", "density": 0.2}
POINTS: dict[str, Any] = {
    "sensors": {"points": {"run": "demo/run", "tokens": 2}},
    "tasks": {"points": {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}},
    "validation": {},
    "held_out": {},
    "dormant": ROWS,
}


@pytest.fixture(scope="module")
def run(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> RecomposeRun:
    """Of weights that act behind a touch, with its own copy of what it is measured by."""
    root = tmp_path_factory.mktemp("merged")
    shutil.copytree(setup, root / "place")
    train = {"measure_tokens": 2, "measure_with_signals": True, "measure_signals_limit": 9}
    return short_run(root / "place", root / "run", dormant=ROWS, train=train)


def load(pack: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pack / "results.json").read_text())
    return found


def test_the_merged_model_is_measured_and_not_what_was_trained(run: RecomposeRun, tmp_path: Path) -> None:
    pack = pa.export_pack(run, tmp_path / "pack", merge=True)
    results, card = load(pack), (pack / "README.md").read_text()
    assert results["not_measured"] == {}
    model, processor = pa.load_sensor_model(str(pack / "merged"), [pack])
    for part, name, task in (("validation", "touch", TOUCH), ("held_out", "image", IMAGE)):
        asked = Task(name, TaskConfig(**{**task, "split": "val"}), run.config.root, ["touch"])
        found = measure_task(model, Questions(asked, Collator(processor)))
        told = results["merged"][part][name]
        assert told["accuracy"] == found.accuracy
        assert told["loss"] == pytest.approx(found.loss, rel=1e-5)
        assert told["contains"]["n"] == 24
    assert results["after"] == run.results["after"]
    held = [results[when]["held_out"]["image"]["loss"] for when in ("base", "after", "merged")]
    assert held[0] == held[1] != pytest.approx(held[2], rel=1e-3)  # it acts on pictures too, where the run does not
    for words in (
        "### With merged weights (`merged/`)",
        "**Merged weights act at every token**: the merged model is another model",
        "| question | n | base | run | merged | interval |",
        "| held_out, image: ",
        "its words in a free answer",
    ):
        assert words in card
    assert "merged" not in load(pa.export_pack(run, tmp_path / "plain"))


def test_held_out_questions_are_asked_with_a_signal_of_the_merged_model_too(
    run: RecomposeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the signals that the run was asked with, and not by the run's own weights."""
    assert main(["export", str(run.folder), str(tmp_path / "pack"), "--merge"]) == 0
    assert "held_out/image                    a signal in front: run " in capsys.readouterr().out
    results, card = load(tmp_path / "pack"), (tmp_path / "pack" / "README.md").read_text()
    model, processor = pa.load_sensor_model(str(tmp_path / "pack" / "merged"), [tmp_path / "pack"])
    touch, image = (
        Task(name, TaskConfig(**{**task, "split": "val"}), run.config.root, ["touch"])
        for name, task in (("touch", TOUCH), ("image", IMAGE))
    )
    signals = gather_signals({"validation": [touch]}, processor, run.config.seed)
    asked = first_of(Questions(image, Collator(processor)), 9)
    for position in POSITIONS:
        found = measure_task(model, SignalQuestions(asked, signals, position)).loss
        told, own = (results[of]["tasks"]["image"][position] for of in ("merged_with_signals", "with_signals"))
        assert told["loss"] == pytest.approx(found, rel=1e-5)
        assert told["loss"] != pytest.approx(own["loss"], rel=1e-4)
        assert told["contains"]["n"] == own["contains"]["n"] == 9
    names = [f"{who}, a signal {where}" for where in ("in front", "behind") for who in ("run", "merged")]
    assert f"| question | n | base, no signal | {' | '.join(names)} |" in card
    assert results["with_signals"] == run.results["with_signals"]


@pytest.mark.parametrize("what", ["gone", "others", "root", "signals"])
def test_what_cannot_be_asked_is_not_measured(run: RecomposeRun, tmp_path: Path, what: str) -> None:
    root = shutil.copytree(run.config.root, tmp_path / "place")
    if what == "gone":
        for path in (root / "lessons" / "image").glob("*.tar"):
            path.unlink()
    elif what == "others":
        shutil.rmtree(root / "lessons" / "image")
        shutil.copytree(root / "lessons" / "touch", root / "lessons" / "image")
    elif what == "root":
        shutil.rmtree(root / "lessons")
    elif what == "signals":
        shutil.rmtree(root / "lessons" / "touch")
    moved = replace(run, config=replace(run.config, root=str(root)))
    if what == "signals":
        with pytest.warns(UserWarning, match="held_out with a signal is not measured with merged weights: "):
            found = load(pa.export_pack(moved, tmp_path / "pack", merge=True))
        reason = "of the tasks that its signals are from, its shards are not here"
        assert found["not_measured"]["held_out with a signal"] == reason
        assert found["merged_with_signals"] is None
        assert found["merged"]["held_out"]["image"]
        return
    if what == "others":
        pack = pa.export_pack(moved, tmp_path / "pack", merge=True)
    else:
        with pytest.warns(UserWarning, match="held_out/image is not measured with merged weights: "):
            pack = pa.export_pack(moved, tmp_path / "pack", merge=True)
    results, card = load(pack), (pack / "README.md").read_text()
    reason = "its shards are not those of the run" if what == "others" else "its shards are not here"
    assert results["not_measured"]["held_out/image"] == reason
    assert f"- held_out/image: **not measured** with merged weights: {reason}." in card
    assert results["merged"]["held_out"] == {}
    assert "held_out, image" not in card
    assert (results["merged"]["validation"] == {}) == (what == "root")
    assert str(tmp_path) not in card + (pack / "results.json").read_text()


def test_weights_that_act_everywhere_answer_merged_as_before(setup: Path, tmp_path: Path) -> None:
    run = short_run(setup, tmp_path / "run", dormant={**ROWS, "acts": "always"})
    pack = pa.export_pack(run, tmp_path / "pack", merge=True)
    results, card = load(pack), (pack / "README.md").read_text()
    for part, name in (("validation", "touch"), ("held_out", "image")):
        assert results["merged"][part][name]["loss"] == pytest.approx(results["after"][part][name]["loss"], rel=1e-5)
    assert "acts at every token, as merged weights do" in card
    assert "another model" not in card


def test_several_packs_merge_where_they_share_no_weights(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the command line: refused as they are made by default, with what to do; done, it is one model of both."""
    short_run(setup, tmp_path / "touch", dormant=ROWS)
    assert main(["export", str(tmp_path / "touch"), str(tmp_path / "pack-touch")]) == 0
    short_run(setup, tmp_path / "apart", **POINTS)
    words = ["export", str(tmp_path / "apart"), str(tmp_path / "both"), "--with", str(tmp_path / "pack-touch")]
    assert main(words) == 2
    assert "--with: names packs that are merged in: pass --merge" in capsys.readouterr().err
    assert main([*words, "--merge"]) == 2
    said = capsys.readouterr().err
    assert "'points' and 'touch' share" in said
    assert "train the second with the first as one of its `installed` packs" in said
    assert not (tmp_path / "both").exists()
    beside = short_run(setup, tmp_path / "beside", installed=[str(tmp_path / "pack-touch")], **POINTS)
    words[1] = str(tmp_path / "beside")
    assert main([*words, "--merge"]) == 0
    pack = tmp_path / "both"
    model, processor = pa.load_sensor_model(str(pack / "merged"), [pack])
    assert sorted(model.sensors) == sorted(processor.sensors) == ["points", "touch"]
    apart, _ = pa.load_sensor_model(str(setup / "base"), [])
    for folder in (tmp_path / "pack-touch", pa.export_pack(beside, tmp_path / "pack-points")):
        pa.install_pack(apart, _, folder)
    expected = apart.llm.merge_and_unload().state_dict()  # type: ignore[operator]
    found = model.llm.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    card = (pack / "README.md").read_text()
    assert "Merged in: touch, whose own questions were not asked." in card
    assert "goes with that model alone" in card
    assert list(beside.model.sensors) == ["points"]  # what was merged in is gone again
    with pytest.raises(PackError, match="changed the model's own weights"):
        pa.load_sensor_model(str(setup / "base"), [pack])


def test_a_refused_merge_leaves_a_run_in_memory_as_it_was(setup: Path, tmp_path: Path) -> None:
    touch = short_run(setup, tmp_path / "touch", dormant=ROWS, validation={}, held_out={})
    points = short_run(setup, tmp_path / "points", **POINTS)
    pack = pa.export_pack(touch, tmp_path / "pack")
    before = list(points.model.state_dict())
    with pytest.raises(DormantError, match="share"):
        pa.export_pack(points, tmp_path / "both", merge=True, others=[pack])
    assert list(points.model.state_dict()) == before
    assert list(points.model.sensors) == list(points.processor.sensors) == ["points"]
