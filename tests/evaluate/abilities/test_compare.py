"""Paired changes from two result folders of lmms-eval, and pairs that do not fit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lmms_eval_log import Scores, ai2d, plain, write_results
from pairalign.core.errors import DataError
from pairalign.evaluate.abilities.__main__ import main
from pairalign.evaluate.abilities.compare import _stratified, compare_results
from pairalign.evaluate.intervals import resample_weights

PERCEPTION = {"mme_perception_score": {"question_id": "i", "category": "color", "score": 1.0}}


def test_changes_are_paired(sides: Callable[..., Any]) -> None:
    """Ten of 400 samples flip, all to wrong: unpaired, that would be no change at all."""
    draw = random.Random(0)
    base = [float(draw.random() < 0.6) for _ in range(400)]
    right = [n for n, value in enumerate(base) if value][:10]
    after = [0.0 if n in right else value for n, value in enumerate(base)]
    found = compare_results(*sides(ai2d(base), ai2d(after)))
    moved = found.tasks["ai2d"].change
    assert moved.value == pytest.approx(-2.5)
    assert -4.5 < moved.low < -2.5 < moved.high < -0.9
    assert (moved.n, moved.at_chance) == (400, False)
    assert found.forgetting.value == pytest.approx(2.5)
    assert (found.forgetting.low, found.forgetting.high) == pytest.approx((-moved.high, -moved.low))
    assert found == compare_results(*sides(ai2d(base), ai2d(after)))
    assert found != compare_results(*sides(ai2d(base), ai2d(after)), seed=1)


def test_the_interval_covers_a_known_change() -> None:
    """The standard error of a mean of paired differences, by its formula."""
    draw = torch.Generator().manual_seed(3)
    values = torch.rand(2, 300, generator=draw, dtype=torch.float64)
    means = _stratified(values, [""] * 300)
    drawn = torch.cat([means(block) for block in resample_weights(300, samples=2000, seed=1)], 1)
    assert float((drawn[1] - drawn[0]).std()) == pytest.approx(float((values[1] - values[0]).std()) / 300**0.5, rel=0.1)


def test_forgetting_is_the_mean_over_tasks_and_the_worst_is_named(sides: Callable[..., Any]) -> None:
    base = {**ai2d([1.0] * 20), "chartqa": plain("relaxed_overall", [1.0] * 5 + [0.0] * 5)}
    after = {**ai2d([1.0] * 18 + [0.0] * 2), "chartqa": plain("relaxed_overall", [1.0] * 6 + [0.0] * 4)}
    found = compare_results(*sides(base, after))
    assert found.forgetting.value == pytest.approx(0.0)
    assert (found.total.worst, found.total.worst_points) == ("ai2d", pytest.approx(-10.0))
    assert found.forgetting.low < 0 < found.forgetting.high


def test_the_newest_run_of_each_task_counts(tmp_path: Path, sides: Callable[..., Any]) -> None:
    base, merged = sides(ai2d([1.0, 1.0]), ai2d([0.0, 0.0]))
    write_results(merged, "packs/touch/merged", ai2d([1.0, 0.0]), date="20260807_090000")
    assert compare_results(base, merged).tasks["ai2d"].after == 0.5


def test_tasks_that_are_unknown_here_are_named_and_left_out(sides: Callable[..., Any]) -> None:
    base, merged = sides({**ai2d([1.0]), "gqa": plain("exact_match", [1.0])}, ai2d([1.0]))
    assert compare_results(base, merged).ignored == ["gqa"]


@pytest.mark.parametrize(
    ("base", "after", "words"),
    [
        ({**ai2d([1.0]), "mme": [PERCEPTION, PERCEPTION]}, ai2d([1.0]), r"merged' has no task 'mme', but ai2d"),
        (ai2d([1.0, 1.0]), ai2d([1.0]), "base has 2 samples, after 1, 1 of them the same"),
        (ai2d([1.0]), {"ai2d": [{"exact_match": 1.0, "target": "B"}]}, "doc_id 0: target differs"),
        (ai2d([1.0]), {"ai2d": [{"exact_match": 1.0, "input": "other"}]}, "doc_id 0: input differs"),
        (ai2d([1.0]), {"ai2d": [{"acc": 1.0}]}, "doc_id 0 has no exact_match"),
        (ai2d([1.0]), ai2d([7.0]), "scores 7.0: not in 0 to 1"),
        (ai2d([1.0]), {"ai2d": [{"exact_match": 1.0}, {"exact_match": 1.0, "doc_id": 0}]}, "doc_id 0 is there twice"),
        ({"ai2d": []}, {"ai2d": []}, "is empty"),
        ({"gqa": []}, {"gqa": []}, "gqa are none of the abilities"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(base: Scores, after: Scores, words: str, sides: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=words):
        compare_results(*sides(base, after))


def test_other_shots_or_versions_are_refused(tmp_path: Path) -> None:
    base = write_results(tmp_path / "base", "a/b", ai2d([1.0]))
    after = write_results(tmp_path / "after", "c/d", ai2d([1.0]), **{"n-shot": {"ai2d": 5}})
    with pytest.raises(DataError, match="n-shot is 0 for base and 5 for after"):
        compare_results(base, after)


def test_folders_that_are_no_results_are_refused(tmp_path: Path, sides: Callable[..., Any]) -> None:
    base, merged = sides(ai2d([1.0]), ai2d([1.0]))
    with pytest.raises(DataError, match="give the --output_path"):
        compare_results(base, tmp_path / "nowhere")
    with pytest.raises(DataError, match="none of the abilities"):
        compare_results(base, merged, tasks=["gqa"])
    write_results(merged, "another/model", ai2d([1.0]))
    with pytest.raises(DataError, match=r"another/model, packs/touch/merged: give the folder of one"):
        compare_results(base, merged)
    next(base.rglob("*_samples_ai2d.jsonl")).unlink()
    with pytest.raises(DataError, match="--log_samples"):
        compare_results(base, base)
    next(base.rglob("*_results.json")).write_text('{"results": []}')
    with pytest.raises(DataError, match="no results file"):
        compare_results(base, base)


def test_the_command(sides: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, merged = sides(ai2d([1.0] * 8), ai2d([1.0] * 6 + [0.0] * 2), reported={"ai2d": {"exact_match,none": 1.0}})
    out = tmp_path / "abilities.json"
    assert main(["compare", str(base), str(merged), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "forgetting +25.00" in printed
    assert "worst: ai2d -25.00" in printed
    assert "reports 100.00 for after, counted 75.00" in printed
    written = json.loads(out.read_text())
    assert written["tasks"]["ai2d"]["change_points"]["value"] == -25.0
    assert written["forgetting_points"]["n"] == 8
    assert (written["base"], written["after"]) == ("org/model-7b", "packs/touch/merged")
    assert main(["commands", "a", "b", "--model", "qwen2_5_vl", "--tasks", "splash"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["python", "python", "#"]
    assert main(["compare", str(base), "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("pairalign: 'nowhere'")
