"""Rehearsal: prompts with a signal by the way, held to the base's answers, in any batches, processes, after a kill."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import command_in_ranks
from safetensors.torch import load_file
from stage_two import IMAGE, TOUCH, killed, settings, short_run, values

from pairalign.core.errors import ConfigError
from pairalign.finetune.check import check_tasks
from pairalign.finetune.collator import Batch
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.module import StageTwo
from pairalign.finetune.rehearse import drift
from pairalign.finetune.run import RecomposeRun, plan_recompose
from pairalign.finetune.sampling import deal, rehearsed_places
from pairalign.finetune.tasks import encode_once

QUESTIONS = {"pictures": IMAGE}
CAPTIONS = {"pictures": {**IMAGE, "prompt": "{image}", "answer": ""}}
LR = 1e-3


def run(setup: Path, out: Path, *, rehearse: dict[str, Any] | None = None, **changes: Any) -> RecomposeRun:
    train = {"steps": 4, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "lr": LR, "bridge_lr": LR}
    train |= {"measure_tokens": 0, "rehearse": {"share": 0.5, **(rehearse or {})}, **changes.pop("train", {})}
    parts: dict[str, Any] = {"validation": {}, "held_out": {}, "calibration": QUESTIONS, "tasks": {"touch": TOUCH}}
    making = {"score": "magnitude", "structure": "rows", "density": 0.25}
    return short_run(setup, out, **{**parts, "dormant": making, **changes}, train=train)


def told(run: RecomposeRun, name: str = "train/rehearse") -> list[float]:
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def apart(one: RecomposeRun, other: RecomposeRun) -> float:
    """The largest distance of two models' weights, in learning rates."""
    first, second = one.model.state_dict(), other.model.state_dict()
    return max(float((first[name] - second[name]).abs().max()) for name in first) / LR


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Every batch that a run trains on."""
    found: list[Batch] = []
    step = StageTwo.training_step

    def spied(self: StageTwo, batch: Batch, batch_idx: int) -> torch.Tensor:
        found.append(batch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StageTwo, "training_step", spied)
    return found


def texts(run: RecomposeRun, batch: Batch) -> list[str]:
    found: list[str] = run.processor.tokenizer.batch_decode(batch.inputs["input_ids"])
    return found


def test_every_rehearsed_prompt_holds_a_signal_on_either_side_of_the_picture(
    setup: Path, tmp_path: Path, seen: list[Batch]
) -> None:
    done = run(setup, tmp_path / "run", train={"steps": 6})
    sides = Counter[bool]()
    for batch in seen:
        assert len(batch.keys) == 4  # half of 8
        assert batch.rehearsed is not None
        shown, asked = batch.rehearsed
        assert shown.keys == asked.keys
        assert len(shown.inputs["signals"]["touch"].shared) == 4
        assert "signals" not in asked.inputs  # the base is asked without it
        assert torch.equal(shown.inputs["pixel_values"], asked.inputs["pixel_values"])
        for text, plain in zip(texts(done, shown), texts(done, asked), strict=True):
            assert "<|touch|>" in text
            assert "<|touch|>" not in plain
            sides[text.index("<|touch|>") < text.index("<image>")] += 1
    assert min(sides[True], sides[False]) >= 4


def test_signals_are_those_of_training_and_follow_from_seed_and_place(
    setup: Path, tmp_path: Path, seen: list[Batch]
) -> None:
    done = [run(setup, tmp_path / str(n), seed=seed, train={"steps": 2}) for n, seed in enumerate((0, 0, 1))]
    first, again, other = (
        [b.rehearsed.shown.inputs["signals"]["touch"].shared for b in seen[n : n + 2] if b.rehearsed] for n in (0, 2, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    processor, task = done[0].processor, check_tasks(done[0].config)["tasks"][0]
    taught = [part["touch"].shared for e in encode_once(list(task.read()), processor) for part in e.parts[:1]]
    assert len(taught) == 48
    for signal in torch.cat(first):
        assert any(torch.allclose(signal, one, atol=1e-5) for one in taught)


def test_the_distance_is_that_from_the_base_and_pulls(setup: Path, tmp_path: Path) -> None:
    """With a weight on it, what is held stays nearer to the base; both runs see the same prompts."""
    pulled = run(setup, tmp_path / "pulled", rehearse={"weight": 30.0, "reference": "signal"}, train={"steps": 24})
    free = run(setup, tmp_path / "free", rehearse={"weight": 0.0, "reference": "signal"}, train={"steps": 24})
    assert told(free)[0] == pytest.approx(0, abs=1e-6)  # before the first step the two are one
    assert len(told(free)) == 24
    late = [sum(told(one)[-6:]) for one in (pulled, free)]
    assert late[0] < 0.5 * late[1]


def test_the_reference_is_the_model_with_its_updates_off(setup: Path, tmp_path: Path, seen: list[Batch]) -> None:
    done = run(setup, tmp_path / "run")
    model, held = done.model, seen[-1].rehearsed
    assert held is not None
    logits, labels = answer_logits(model, held.shown)
    with model.llm.disable_adapter():  # type: ignore[operator]
        base, _ = answer_logits(model, held.asked)
    answered = labels != -100
    p, q = base[answered].detach().double().softmax(-1), logits[answered].detach().double().softmax(-1)
    by_hand = (p * (p.log() - q.log())).sum(-1).mean()
    assert float(drift(base, logits.detach(), labels)) == pytest.approx(float(by_hand), rel=1e-2)
    stage = StageTwo(model, _dormant(), done.config)
    assert float(stage.rehearse(seen[-1]).detach()) == pytest.approx(float(by_hand), rel=1e-2)  # type: ignore[union-attr]


def _dormant() -> Any:
    from pairalign.finetune.methods import create_method

    return create_method("dormant", {})


@pytest.mark.parametrize(("size", "accumulate"), [(4, 2), (2, 4)])
@pytest.mark.parametrize("method", ["dormant", "lora", "lwf"])
def test_a_step_is_that_of_one_larger_batch(
    setup: Path, tmp_path: Path, method: str, size: int, accumulate: int
) -> None:
    whole = run(setup, tmp_path / "whole", rehearse={"share": 0.4}, method=method)
    parts = run(
        setup,
        tmp_path / "parts",
        rehearse={"share": 0.4},
        method=method,
        train={"batch_size": size, "accumulate": accumulate},
    )
    assert apart(whole, parts) < 0.01
    assert told(whole) == pytest.approx(told(parts), rel=1e-3, abs=1e-6)
    assert told(whole, "train/loss") == pytest.approx(told(parts, "train/loss"), rel=1e-3)


@pytest.mark.parametrize(
    ("share", "size", "turns"), [(0.25, 8, 3), (0.5, 2, 3), (0.01, 4, 2), (0.4, 5, 1), (0.0, 4, 2)]
)
def test_places_are_shared_out_evenly(share: float, size: int, turns: int) -> None:
    held = rehearsed_places(share, size, turns)
    dealt = deal([2, 1], size, turns, share)
    assert [sum(counts) + own for counts, own in zip(dealt, held, strict=True)] == [size] * turns
    assert sum(held) == rehearsed_places(share, size * turns, 1)[0]
    assert max(held) - min(held) <= 1


def test_a_run_that_was_killed_rehearses_on_where_it_was(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"steps": 6, "checkpoint_every": 2}
    whole = run(setup, tmp_path / "whole", train=train)
    with killed(3):
        run(setup, tmp_path / "cut", train=train)
    again = run(setup, tmp_path / "cut", train={**train, "workers": 2})
    assert apart(whole, again) == 0
    assert told(whole) == told(again)[-6:]


def test_prompts_without_an_answer_are_compared_along_the_bases_own(
    setup: Path, tmp_path: Path, seen: list[Batch]
) -> None:
    """Captions, which nobody answers, and what the base writes by itself; both end."""
    for prompts, calibration in (("calibration", CAPTIONS), ("written", {})):
        done = run(setup, tmp_path / prompts, rehearse={"prompts": prompts, "tokens": 5}, calibration=calibration)
        held = seen[-1].rehearsed
        assert held is not None
        counts = (held.shown.labels != -100).sum(1).tolist()
        assert all(1 <= count <= 6 for count in counts)
        assert (held.shown.labels[:, -1] == done.processor.tokenizer.eos_token_id).all()
        assert told(done)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "full"}, "method 'full' has no base beside it"),
        ({"method": "bridge"}, "no base beside it"),
        ({"method": "lora", "options": {"init_lora_weights": "pissa"}}, "no base beside it"),
        ({"calibration": {}}, "needs calibration tasks"),
        ({"train": {"batch_size": 1}}, "batch_size=1 has no place to learn beside train.rehearse.share=0.5"),
        ({"rehearse": {"share": 1.0}}, "share is 1, and leaves no place to learn"),
    ],
)
def test_what_cannot_rehearse_is_said_before_long_work(
    setup: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(setup, tmp_path / "run", **{"base": str(tmp_path / "nowhere"), **changes})
    assert not (tmp_path / "run").exists()


def test_a_dry_run_rehearses_too(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    held = StageTwo.rehearse

    def spied(self: StageTwo, batch: Batch) -> torch.Tensor | None:
        distance = held(self, batch)
        found.append(float(distance.detach()) if distance is not None else -1.0)
        return distance

    monkeypatch.setattr(StageTwo, "rehearse", spied)
    train = {**values(setup, tmp_path)["train"], "rehearse": {"share": 0.5, "reference": "signal"}}
    plan = plan_recompose(settings(setup, tmp_path / "run", train=train))
    assert plan.memory > 0
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 1e-6


@pytest.mark.slow
def test_two_processes_rehearse_what_one_does(setup: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "validation": {},
        "held_out": {},
        "calibration": QUESTIONS,
        "dormant": {"score": "magnitude", "structure": "rows", "density": 0.25},
    }
    train = {"steps": 4, "warmup": 1, "accelerator": "cpu", "lr": 3e-4, "bridge_lr": 3e-4, "measure_tokens": 0}
    train |= {"rehearse": {"share": 0.375}}
    path = tmp_path / "config.json"
    two = {**train, "batch_size": 4, "workers": 1}
    path.write_text(json.dumps(values(setup, tmp_path / "two", **changes, train=two)))
    codes, said = command_in_ranks(["recompose", str(path), "--quiet"], tmp_path)
    assert codes == [0, 0], said
    one = short_run(setup, tmp_path / "one", **changes, train={**train, "batch_size": 8})
    assert told(one)
    for file in (tmp_path / "one").rglob("*.safetensors"):
        mine, theirs = load_file(file), load_file(tmp_path / "two" / file.relative_to(tmp_path / "one"))
        assert max(float((mine[key].float() - theirs[key].float()).abs().max()) for key in mine) < 1e-6
