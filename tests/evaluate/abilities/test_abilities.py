"""Abilities from files in lmms-eval's own format: how samples count, paired changes, and pairs that do not fit."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairalign.errors import ConfigError, DataError
from pairalign.evaluate.abilities.__main__ import main
from pairalign.evaluate.abilities.commands import chosen_tasks, command_lines
from pairalign.evaluate.abilities.compare import compare_results, disagreements
from pairalign.evaluate.abilities.suites import ABILITIES, PAPERS

Scores = dict[str, list[dict[str, Any]]]


def write_results(
    out: Path,
    model: str,
    tasks: Scores,
    reported: dict[str, dict[str, Any]] | None = None,
    date: str = "20260806_101500",
    **facts: Any,
) -> Path:
    """A result folder as lmms-eval leaves it: `tasks` holds the metric fields of every sample."""
    folder = out / "__".join(model.split("/")[-2:])
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tasks)
    results = {
        "results": {name: {"alias": name, **(reported or {}).get(name, {}), "submission,none": []} for name in names},
        "group_subtasks": {name: [] for name in names},
        "configs": {name: {"task": name, "test_split": "test"} for name in names},
        "versions": dict.fromkeys(names, 0.0),
        "n-shot": dict.fromkeys(names, 0),
        "higher_is_better": {name: {} for name in names},
        "n-samples": {name: {"original": len(rows), "effective": len(rows)} for name, rows in tasks.items()},
        "config": {"model": "llava_hf", "model_args": f"pretrained={model}", "batch_size": "1", "limit": None},
        "task_hashes": dict.fromkeys(names, "0" * 64),
        "model_source": "llava_hf",
        "model_name": model,
        "model_name_sanitized": folder.name,
        **facts,
    }
    (folder / f"{date}_results.json").write_text(json.dumps(results, indent=2))
    for name, rows in tasks.items():
        lines = []
        for n, row in enumerate(rows):
            line = {
                "doc_id": n,
                "target": "A",
                "filtered_resps": ["A"],
                "token_counts": [None],
                "doc_hash": f"{n:064d}",
            }
            lines.append(json.dumps({**line, "input": f"question {n}", **row}) + "\n")
        (folder / f"{date}_samples_{name}.jsonl").write_text("".join(lines))
    return out


def plain(metric: str, values: list[float]) -> list[dict[str, Any]]:
    return [{metric: value} for value in values]


def ai2d(values: list[float]) -> Scores:
    return {"ai2d": plain("exact_match", values)}


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    def write(base: Scores, after: Scores, **settings: Any) -> tuple[Path, Path]:
        return (
            write_results(tmp_path / "base", "org/model-7b", base, **settings),
            write_results(tmp_path / "merged", "packs/touch/merged", after, **settings),
        )

    return write


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
    import torch

    from pairalign.evaluate.abilities.compare import _stratified
    from pairalign.evaluate.intervals import resample_weights

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
        ({**ai2d([1.0]), "mme": []}, ai2d([1.0]), r"merged' has no task 'mme', but ai2d"),
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
    if "mme" in base:
        base = {**base, "mme": [mme("perception", "color", "i", 1.0)] * 2}
        base["mme"] = [{**row} for row in base["mme"]]
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
