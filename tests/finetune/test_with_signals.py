"""What a run says of held-out tasks at its end: how far they are the base's, and what a signal in the prompt costs."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ranks import command_in_ranks
from stage_two import IMAGE, TOUCH, short_run, values

from pairalign.cli.recompose import conclusion, report
from pairalign.evaluate.intervals import wilson
from pairalign.finetune import irrelevant
from pairalign.finetune.collator import IGNORED, Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.irrelevant import POSITIONS, Signals, gather_signals
from pairalign.finetune.measure import TaskScore, answer_logits, answer_loss
from pairalign.finetune.methods import create_method
from pairalign.finetune.questions import Questions
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.tasks import Example, Task
from pairalign.finetune.with_signals import Bits, WithSignals
from pairalign.runtime import Runtime

TRAIN = {"steps": 4, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 0}
TRAIN |= {"measure_with_signals": True}
ROWS = {"structure": "rows", "density": 0.25}
WAYS: dict[str, dict[str, Any]] = {
    "sensor": {},
    "always": {"dormant": {**ROWS, "acts": "always"}},
    **{name: {"method": name} for name in ("full", "bridge", "lora", "lwf")},
}


def run(setup: Path, out: Path, **changes: Any) -> RecomposeRun:
    train = {**TRAIN, **changes.pop("train", {})}
    return short_run(setup, out, **{"calibration": {}, "dormant": ROWS, **changes}, train=train)


@pytest.fixture(scope="module")
def runs(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecomposeRun]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: run(setup, folder / name, **way) for name, way in WAYS.items()}


def held(run: RecomposeRun, name: str = "image") -> dict[str, Any]:
    found: dict[str, Any] = run.results["with_signals"]["tasks"][name]
    return found


def questions(run: RecomposeRun) -> Questions:
    task = Task("image", TaskConfig(**{**IMAGE, "split": "val"}), run.config.root, ["touch"])
    return Questions(task, Collator(run.processor), 5)


def test_with_weights_that_act_from_the_sensor_on_no_answer_logit_is_another(runs: dict[str, RecomposeRun]) -> None:
    asked = questions(runs["sensor"])
    tokens = sum(asked.collate(one.examples).tokens for one in asked.ask())
    vocabulary = answer_logits(runs["sensor"].model, asked.collate(next(iter(asked.ask())).examples))[0].shape[-1]
    for name in ("sensor", "bridge"):
        assert held(runs[name])["identical"] == {"compared": tokens * vocabulary, "differ": 0}
    for name in ("always", "lora", "lwf"):
        assert held(runs[name])["identical"]["compared"] == tokens * vocabulary
        assert held(runs[name])["identical"]["differ"] > tokens
    on, off = (found["before"]["loss"] for found in (held(runs["sensor"]), held(runs["sensor"])["updates_off"]))
    assert on != pytest.approx(off, rel=1e-3)  # they were trained all the same


def test_a_method_that_keeps_no_base_says_so_and_claims_nothing(runs: dict[str, RecomposeRun]) -> None:
    found = held(runs["full"])
    assert found["identical"] is None
    assert found["not_compared"] == "method 'full' does not keep the base beside what it trains"
    assert found["updates_off"] is None
    told = "\n".join(report(runs["full"].results))
    assert "not compared with the base: method 'full'" in told
    assert "identical" not in told
    assert "a signal in front" in told
    assert "identical: all " in "\n".join(report(runs["sensor"].results))
    assert "identical" not in "\n".join(report(runs["always"].results))


@pytest.mark.parametrize(("name", "kept"), [("dormant", True), ("lora", True), ("lwf", True), ("ewc", False)])
def test_whose_base_is_there_after_training(name: str, kept: bool) -> None:
    assert create_method(name, {}).keeps_base is kept
    if name == "lora":
        assert not create_method(name, {"bias": "all"}).keeps_base  # of the base's own weights some train
        assert not create_method(name, {"init_lora_weights": "pissa"}).keeps_base


def test_figures_are_of_prompts_with_the_signal_in_them(runs: dict[str, RecomposeRun]) -> None:
    """By hand, question by question: the prompt as a user would write it."""
    trained, found = runs["sensor"], held(runs["sensor"])
    touch = Task("touch", TaskConfig(**{**TOUCH, "split": "val"}), trained.config.root, ["touch"])
    signals = gather_signals({"validation": [touch]}, trained.processor, trained.config.seed)
    for position in POSITIONS:
        for figures, off in ((found, False), (found["updates_off"], True)):
            loss, tokens = 0.0, 0
            for place, example in enumerate(questions(trained).task.read()):
                picture, asked = example.parts
                signal = {"type": "touch", "touch": signals.draw("image", place)[1]}
                blank = {"type": "text", "text": " "}
                words = {"type": "text", "text": " " + asked["text"]}
                parts = [signal, blank, picture, asked] if position == "before" else [picture, signal, words]
                loss += _loss(trained, example._replace(parts=parts), off)
                tokens += Collator(trained.processor)([example]).tokens
            assert figures[position]["loss"] == pytest.approx(loss / tokens, rel=1e-4), (position, off)
    losses = [found[position]["loss"] for position in POSITIONS] + [found["without"]["loss"]]
    losses += [found["updates_off"][position]["loss"] for position in POSITIONS]
    assert len({round(loss, 5) for loss in losses}) == 5
    assert found["base"]["loss"] == found["without"]["loss"]


@torch.no_grad()
def _loss(run: RecomposeRun, example: Example, off: bool) -> float:
    batch = Collator(run.processor)([example])
    if off:
        with run.model.llm.disable_adapter():  # type: ignore[operator]
            return float(answer_loss(*answer_logits(run.model, batch), "sum"))
    return float(answer_loss(*answer_logits(run.model, batch), "sum"))


def test_a_method_that_rewrites_weights_is_measured_as_it_is_kept(runs: dict[str, RecomposeRun]) -> None:
    """LoRA's updates are merged at the end, and with them it is asked; the base without."""
    trained = runs["lora"]
    asked = questions(trained)
    first = next(iter(asked.ask())).examples
    assert held(trained)["without"] == trained.results["after"]["held_out"]["image"]
    off, on = held(trained)["updates_off"], held(trained)
    assert off["before"]["loss"] != pytest.approx(on["before"]["loss"], rel=1e-4)
    assert len(first) == 5


def test_forgetting_with_a_signal_stands_beside_that_without(runs: dict[str, RecomposeRun]) -> None:
    for run in runs.values():
        again = run.results["with_signals"]
        assert again["signals_from"] == {"touch": ["validation.touch"]}
        assert again["forgetting"]["without"] == run.results["forgetting"]
        for position in POSITIONS:
            lost = held(run)["base"]["accuracy"] - held(run)[position]["accuracy"]
            assert again["forgetting"][position]["points"] == pytest.approx(100 * lost)
            assert all(score["n"] and score["low"] <= score["high"] for score in held(run)[position]["kinds"].values())
        assert conclusion(run.results)[-1].startswith("  with a signal in front ")


def test_it_may_be_turned_off(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(irrelevant.SignalQuestions, "ask", lambda *args: pytest.fail("asked"))
    found = run(setup, tmp_path / "run", train={"measure_with_signals": False}).results
    assert found["with_signals"] is None
    assert not [line for line in [*report(found), *conclusion(found)] if "signal" in line or "identical" in line]


def test_of_a_large_task_the_first_are_asked_and_the_base_of_just_these(setup: Path, tmp_path: Path) -> None:
    """Also in a run that was killed and went on, whose base was measured by the process before."""
    few = {"measure_signals_limit": 7, "measure_tokens": 2, "checkpoint_every": 2}
    whole = run(setup, tmp_path / "run", train=few, cache=str(tmp_path / "cache"))
    found = held(whole)
    assert (found["n"], found["of"], found["sensors"]) == (7, 24, {"touch": 7})
    limited = {"image": {**IMAGE, "split": "val", "limit": 7}}
    alone = held(run(setup, tmp_path / "alone", train=few, held_out=limited))
    names = ("base", "without", *POSITIONS)
    for name in names:
        assert sum(score["n"] for score in found[name]["kinds"].values()) == 7
        assert found[name]["kinds"] == alone[name]["kinds"]
        assert found[name]["contains"] == alone[name]["contains"]
        assert found[name]["loss"] == pytest.approx(alone[name]["loss"], rel=1e-5)
    assert found["identical"] == alone["identical"]
    assert "(n 7, the first of 24)" in "\n".join(report(whole.results))
    (tmp_path / "run" / "results.json").unlink()
    again = run(setup, tmp_path / "run", train=few, cache=str(tmp_path / "cache"))
    assert again.results["with_signals"] == whole.results["with_signals"]
    assert whole.results["base_from"] == again.results["base_from"] == {}


def test_a_task_that_shows_the_sensor_itself_is_not_compared(setup: Path, tmp_path: Path) -> None:
    told = {"touched": {**TOUCH, "split": "val", "limit": 4}, "words": _words()}
    found = run(setup, tmp_path / "run", held_out=told, validation={}).results["with_signals"]
    assert found["signals_from"] == {"touch": ["tasks.touch", "tasks.pairs"]}
    assert found["tasks"]["touched"]["not_compared"] == "its own prompts show a sensor"
    assert found["tasks"]["words"]["identical"]["differ"] == 0


def _words() -> dict[str, Any]:
    return {"shards": "lessons/words", "prompt": "{question}", "answer": "{answer}", "split": "val", "limit": 4}


def test_a_template_that_writes_both_positions_alike_is_told_of(runs: dict[str, RecomposeRun]) -> None:
    trained = runs["bridge"]
    again = WithSignals(gather_signals({"v": [_touch(trained)]}, trained.processor, 0), 256, "bridge")
    assert not held(trained)["alike"]
    tokenizer, own = trained.processor.tokenizer, trained.processor.processor.chat_template
    pictures = "{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    words = "{% for part in messages[0]['content'] %}{{ part['text'] }}{% endfor %}"
    try:
        trained.processor.processor.chat_template = tokenizer.chat_template = pictures + words
        assert again._alike(questions(trained))
    finally:
        trained.processor.processor.chat_template = own


def _touch(run: RecomposeRun) -> Task:
    return Task("touch", TaskConfig(**{**TOUCH, "split": "val"}), run.config.root, ["touch"])


def test_a_run_that_is_told_to_stop_leaves_the_measuring(runs: dict[str, RecomposeRun]) -> None:
    trained, scores = runs["bridge"], {"image": TaskScore({"it": wilson(1, 2)}, 0.5, 1.0)}
    again = WithSignals(Signals({}, {}), 5, "bridge")
    told = trained.model, create_method("bridge", {}), [questions(trained)], scores, {"held_out": scores}
    assert again.measure(*told, runtime=Runtime(), interrupted=lambda: True) is None
    found = again.measure(*told, runtime=Runtime())
    assert found is not None
    assert found["signals_from"] == {}  # no task shows a sensor: no position, and the comparison all the same
    assert set(found["forgetting"]) == {"without", "updates_off"}
    assert found["tasks"]["image"]["identical"]["differ"] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bits_are_compared_not_values(dtype: torch.dtype) -> None:
    one = torch.tensor([[1.0, 0.0, torch.nan, 2.0]], dtype=dtype)
    other = torch.tensor([[1.0, -0.0, torch.nan, 2.0]], dtype=dtype)
    assert Bits.of(one, other) == Bits(4, 1)
    other.view(torch.int32 if dtype == torch.float32 else torch.int16)[0, 3] += 1
    assert Bits.of(one, other) == Bits(4, 2)
    assert Bits.sum([Bits(4, 2), Bits(3, 0)]) == Bits(7, 2)


def test_only_places_of_answers_are_counted(runs: dict[str, RecomposeRun]) -> None:
    asked = questions(runs["bridge"])
    batch = asked.collate(list(islice(asked.task.read(), 5)))
    logits, labels = answer_logits(runs["bridge"].model, batch)
    assert bool((labels == IGNORED).any())  # shorter answers are padded
    assert Bits.of(logits[labels != IGNORED], logits[labels != IGNORED]).compared == batch.tokens * logits.shape[-1]


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(setup: Path, tmp_path: Path) -> None:
    told = values(setup, tmp_path / "two", held_out={"image": {**IMAGE, "split": "val", "limit": 23}}, calibration={})
    told |= {"dormant": ROWS, "train": {**TRAIN, "steps": 0, "measure_batch_size": 4, "measure_tokens": 3}}
    told["train"] |= {"measure_signals_limit": 17}
    one = short_run(setup, tmp_path / "one", **{k: told[k] for k in ("held_out", "calibration", "dormant", "train")})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    codes, said = command_in_ranks(["recompose", str(tmp_path / "run.yaml"), "--quiet"], tmp_path)
    assert codes == [0, 0], said
    found = json.loads((tmp_path / "two" / "results.json").read_text())["with_signals"]["tasks"]["image"]
    expected = held(one)
    assert expected["n"] == 17
    for name in ("n", "of", "sensors", "identical", "not_compared", "alike"):
        assert found[name] == expected[name]
    for mine, theirs in ((found, expected), (found["updates_off"], expected["updates_off"])):
        for name in ("base", "without", *POSITIONS) if mine is found else POSITIONS:
            assert mine[name]["kinds"] == theirs[name]["kinds"]
            assert mine[name]["contains"] == theirs[name]["contains"]
            assert mine[name]["loss"] == pytest.approx(theirs[name]["loss"], rel=1e-5)
