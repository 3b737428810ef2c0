"""Which sets there are, their command lines, and how the samples that lmms-eval logs count."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_eval_log import plain
from pairalign.core.errors import ConfigError
from pairalign.evaluate.abilities.commands import chosen_tasks, command_lines
from pairalign.evaluate.abilities.compare import compare_results, disagreements
from pairalign.evaluate.abilities.suites import ABILITIES, PAPERS


def test_the_papers_name_these_sets() -> None:
    assert chosen_tasks(["2510.08564"]) == [
        "ai2d", "chartqa", "docvqa_val", "infovqa_val", "realworldqa", "seedbench", "scienceqa_img", "mmstar",
    ]  # fmt: skip
    assert chosen_tasks(["splash"]) == [
        "mmmu_val", "mathvista_testmini_format", "mme", "mmbench_en_dev", "mmbench_cn_dev",
    ]  # fmt: skip
    assert chosen_tasks() == [ability.task for paper in PAPERS.values() for ability in paper] == list(ABILITIES)
    assert chosen_tasks(["mme", "splash", "mme"])[0] == "mme"
    with pytest.raises(ConfigError, match="Did you mean 'chartqa'"):
        chosen_tasks(["chartQA"])


def test_both_lines_are_equal_but_for_the_model_and_the_folder() -> None:
    base, merged = command_lines(
        "org/model", "packs/my touch/merged", "llava_hf", "out", tasks=["ai2d"], limit=8, arguments="device_map=auto"
    )
    words = shlex.split(merged)
    assert words[words.index("--model_args") + 1] == "pretrained=packs/my touch/merged,device_map=auto"
    assert words[words.index("--output_path") + 1] == "out/merged"
    swapped = [w.replace("packs/my touch/merged", "org/model").replace("out/merged", "out/base") for w in words]
    assert swapped == shlex.split(base)
    assert {"--log_samples", "--limit", "8", "ai2d", "llava_hf"} <= set(words)


def test_a_run_and_its_base_are_asked_by_one_model(tmp_path: Path) -> None:
    run = tmp_path / "touch"
    run.mkdir()
    (run / "config.yaml").write_text("base: org/model")
    with pytest.raises(ConfigError, match="is no finished run of stage two"):
        command_lines("org/model", str(run), "llava_hf", "out")
    (run / "results.json").write_text("{}")
    base, after = map(shlex.split, command_lines("org/model", str(run), "llava_hf", "out", arguments="dtype=float32"))
    assert base[:7] == [*after[:6], "model=org/model,family=llava_hf,dtype=float32"]
    assert after[4:7] == ["pairalign", "--model_args", f"model={run},family=llava_hf,dtype=float32"]
    assert after[after.index("--output_path") + 1] == "out/run"


@pytest.mark.parametrize(
    ("models", "words"), [(("a", "a"), "are the same"), (("a", "b,c"), "commas"), (("a,b", "c"), "commas")]
)
def test_models_that_cannot_be_run_are_refused(models: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        command_lines(*models, "llava_hf", "out")


def mmmu(kind: str, answer: Any, said: str) -> dict[str, Any]:
    field = {
        "id": "validation_Art_1",
        "subdomain": "Art",
        "question_type": kind,
        "answer": answer,
        "parsed_pred": [said],
    }
    return {"mmmu_acc": field, "mmmu_acc_pass_at_k": field, "submission": {"validation_Art_1": said}}


def seed(pred: str, answer: str) -> dict[str, Any]:
    field = {"pred": pred, "answer": answer, "question_id": "1"}
    return {"seed_image": field, "seed_all": field}


def star(category: str, score: float) -> dict[str, Any]:
    field = {"question_id": 1, "l2_category": category, "score": score}
    return {"math": field, "average": field}


def mme(kind: str, category: str, question: str, score: float) -> dict[str, Any]:
    return {f"mme_{kind}_score": {"question_id": question, "category": category, "score": score}}


def bench(index: int, answer: str, said: str) -> dict[str, Any]:
    field = {"index": index, "question": "q", "answer": answer, "prediction": said, "L2-category": "x"}
    return {"gpt_eval_score": field, "submission": field}


def vista(right: bool) -> dict[str, Any]:
    return {"llm_as_judge_eval": {"question_id": "1", "true_false": right, "answer": "1"}, "submission": {}}


HAND = [
    ("ai2d", plain("exact_match", [1.0, 0.0, 1, 1]), 0.75),
    ("chartqa", plain("relaxed_overall", [1.0, 0.0]), 0.5),
    ("docvqa_val", plain("anls", [0.8, 0.0, 1.0]), 0.6),
    ("seedbench", [seed("A", "a"), seed("B", "A"), seed(" c", "C")], 2 / 3),
    ("mmstar", [star("x", 1.0), star("x", 0.0), star("y", 1.0)], 0.75),
    (
        "mmmu_val",
        [
            mmmu("multiple-choice", "A", "A"), mmmu("multiple-choice", "A", "AB"), mmmu("open", "a cat", "it is a cat"),
            mmmu("open", "24", "24"), mmmu("open", "b", "b"), mmmu("open", "b", "a b"),
        ],
        0.5,
    ),
    # image i: both right, 1; image j: one right, 1/4 = (1/2 + 0) / 2; a category each counts the same
    (
        "mme",
        [
            mme("perception", "color", "i", 1.0), mme("perception", "color", "i", 1.0),
            mme("perception", "color", "j", 1.0), mme("perception", "color", "j", 0.0),
            mme("cognition", "code", "i", 0.0), mme("cognition", "code", "i", 0.0),
        ],
        (1 + 0.25) / 2 / 2,
    ),
    # index 5 in two orders of its options: right only if both are
    (
        "mmbench_en_dev",
        [bench(5, "A", "A"), bench(1_000_005, "B", "A"), bench(6, "C", "(C) the cat"), bench(7, "A", "An apple")],
        1 / 3,
    ),
    ("mathvista_testmini_format", [vista(True), vista(False)], 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("task", "rows", "score"), HAND, ids=[row[0] for row in HAND])
def test_how_samples_count(task: str, rows: list, score: float, sides: Callable[..., Any]) -> None:
    found = compare_results(*sides({task: rows}, {task: rows})).tasks[task]
    assert found.base == found.after == pytest.approx(score)
    assert (found.change.value, found.change.chance) == (0.0, 0.0)
    assert -100 < found.change.low < 0 < found.change.high < 100


def test_reported_scores_are_brought_to_the_same_scale(sides: Callable[..., Any]) -> None:
    tasks = {name: rows for name, rows, _ in HAND}
    reported: dict[str, dict[str, Any]] = {
        "ai2d": {"exact_match,flexible-extract": 0.75, "exact_match_stderr,flexible-extract": 0.2},
        "chartqa": {"relaxed_overall,none": 0.5, "relaxed_human_split,none": 0.1},
        "docvqa_val": {"anls,none": 0.6, "anls_stderr,none": "N/A"},
        "seedbench": {"seed_all,none": 2 / 3, "seed_image,none": 0.9},
        "mmstar": {"average,none": 0.75, "math,none": 0.3},
        "mmmu_val": {"mmmu_acc,none": 0.5},
        "mme": {"mme_perception_score,none": 1.25 / 2 * 200 * 7, "mme_cognition_score,none": 0.0},
        "mmbench_en_dev": {"gpt_eval_score,none": 60.0},
    }
    found = compare_results(*sides(tasks, tasks, reported=reported))
    assert list(found.tasks) == [name for name in ABILITIES if name in tasks]
    for name in reported:
        if name != "mmbench_en_dev":
            assert found.tasks[name].reported[0] == pytest.approx(found.tasks[name].base), name
    notes = disagreements(found.tasks)
    assert len(notes) == 4
    assert any("reports 60.00 for base, counted 33.33" in note for note in notes)
    assert any("mathvista_testmini_format: lmms-eval reports no score" in note for note in notes)
