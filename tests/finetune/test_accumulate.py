"""Accumulated batches are one larger batch: the loss of a step is the mean over all of its answer tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stage_two import DORMANT, IMAGE, TOUCH, settings, short_run

from pairalign.core.errors import ConfigError
from pairalign.data.encode import ImageFormat
from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs
from pairalign.data.world import World
from pairalign.finetune.check import check_tasks
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.methods import method_names
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.sampling import TaskDataset, deal, shares
from pairalign.finetune.steps import StepLoader

WORDS = ["a", "large", "soft", "red", "object", "with", "a", "rough", "surface"]
LR = 1e-3
MAKING = {"score": "magnitude", "structure": "rows", "density": 0.25}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A task whose answers have from one to nine words, the long ones together."""

    def rows() -> Iterator[dict[str, Any]]:
        for n in range(24):
            touch = World(seed=3).sample(n, None, ("touch",))["touch"]
            answer = " ".join(WORDS[: 9 if n % 5 == 1 else 1 + n % 2])
            yield {"key": f"k{n}", "touch": touch, "question": "how hard is it?", "answer": answer, "split": "train"}

    folder = tmp_path_factory.mktemp("uneven") / "grip"
    fields = ["touch", "question", "answer"]
    pack_pairs(rows(), folder, modalities=fields, image=ImageFormat("png"), progress=False)
    return {"shards": str(folder), "prompt": "{touch} {question}", "answer": "{answer}"}


def run(setup: Path, out: Path, uneven: dict[str, Any], size: int, accumulate: int, **changes: Any) -> RecomposeRun:
    train = {"steps": 4, "batch_size": size, "accumulate": accumulate, "warmup": 1, "accelerator": "cpu", "lr": LR}
    train |= {"bridge_lr": LR, "measure_tokens": 0, "clip": 0.3, **changes.pop("train", {})}
    parts: dict[str, Any] = {"validation": {}, "held_out": {}, "dormant": MAKING, "tasks": {"grip": uneven}}
    return short_run(setup, out, **{**parts, **changes}, train=train)


def told(run: RecomposeRun) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "train/loss" in line]


def apart(one: RecomposeRun, other: RecomposeRun) -> float:
    """The largest distance of two models' weights, in learning rates."""
    first, second = one.model.state_dict(), other.model.state_dict()
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first) / LR


@pytest.mark.parametrize("method", method_names())
def test_two_batches_of_four_are_one_of_eight(setup: Path, tmp_path: Path, uneven: dict[str, Any], method: str) -> None:
    """Weights, and the figures of every step, after the method has finished."""
    whole = run(setup, tmp_path / "whole", uneven, 8, 1, method=method)
    parts = run(setup, tmp_path / "parts", uneven, 4, 2, method=method)
    assert apart(whole, parts) < 0.01
    assert len(told(whole)) == 4
    for one, other in zip(told(whole), told(parts), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_in_half_precision_gradients_are_as_near_as_it_rounds(
    setup: Path, tmp_path: Path, uneven: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW makes much of little, so that gradients are compared, of the first step."""
    found: list[torch.Tensor] = []
    before = StageTwo.on_before_optimizer_step

    def spied(self: StageTwo, optimizer: Any) -> None:
        before(self, optimizer)
        found.append(torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None]))

    monkeypatch.setattr(StageTwo, "on_before_optimizer_step", spied)
    train = {"precision": "bf16-mixed", "steps": 1}
    runs = [run(setup, tmp_path / str(n), uneven, 8 // n, n, train=train, method="full") for n in (1, 2)]
    whole, parts = found
    assert float((whole - parts).norm() / whole.norm()) < 0.02
    assert told(runs[0])[0] == pytest.approx(told(runs[1])[0], rel=5e-3)


def test_tasks_of_unequal_weight_have_their_places_in_the_step(
    setup: Path, tmp_path: Path, uneven: dict[str, Any]
) -> None:
    """5⅓ and 2⅔ of 8 places; of 4 they would be 3 and 1."""
    tasks = {"grip": {**uneven, "weight": 2}, "image": IMAGE}
    always = {"dormant": {**DORMANT, "acts": "always"}}
    whole = run(setup, tmp_path / "whole", uneven, 8, 1, tasks=tasks, **always)
    parts = run(setup, tmp_path / "parts", uneven, 4, 2, tasks=tasks, **always)
    assert apart(whole, parts) < 0.01


@given(st.lists(st.floats(0, 8), min_size=1, max_size=5).filter(any), st.integers(1, 9), st.integers(1, 6))
def test_a_step_deals_out_what_one_larger_batch_holds(weights: list[float], size: int, turns: int) -> None:
    try:
        whole = shares(weights, size * turns)
    except ConfigError:
        return
    dealt = deal(weights, size, turns)
    assert [sum(counts) for counts in dealt] == [size] * turns
    assert [sum(counts) for counts in zip(*dealt, strict=True)] == whole
    for count, counts in zip(whole, zip(*dealt, strict=True), strict=True):
        if all(one % turns == 0 for one in whole):
            assert set(counts) == {count // turns}


class Keys:
    """Stands where a `Collator` does, and gives keys alone."""

    def __call__(self, examples: list[Any]) -> list[str]:
        return [f"{example.kind} {example.key}" for example in examples]


@pytest.mark.parametrize(
    ("world", "accumulate", "workers", "start"), [(1, 3, 0, 0), (3, 1, 0, 6), (3, 2, 0, 3), (2, 3, 2, 5), (1, 4, 3, 1)]
)
def test_the_batches_of_a_step_are_together_that_of_one_process(
    setup: Path, tmp_path: Path, uneven: dict[str, Any], world: int, accumulate: int, workers: int, start: int
) -> None:
    parts = {"grip": {**uneven, "weight": 3}, "image": {**IMAGE, "weight": 2}, "touch": TOUCH}
    tasks = check_tasks(settings(setup, tmp_path, tasks=parts))["tasks"]

    def steps(size: int, rank: int, world: int, accumulate: int, workers: int = 0) -> list[list[str]]:
        dataset = TaskDataset(tasks, Keys(), size, 5, rank, world, accumulate)  # type: ignore[arg-type]
        dataset.start = start * accumulate
        batches = iter(BatchLoader(dataset, workers))
        return [[key for batch in islice(batches, accumulate) for key in batch] for _ in range(8)]

    whole = steps(4 * world * accumulate, 0, 1, 1)
    shares = [steps(4, rank, world, accumulate, workers) for rank in range(world)]
    assert [sorted(step) for step in whole] == [sorted(itertools.chain(*step)) for step in zip(*shares, strict=True)]


def test_batches_know_their_part_of_a_step_and_a_last_step_may_be_short() -> None:
    def batch(tokens: int) -> Batch:
        return Batch({}, torch.tensor([[IGNORED] * 3 + [7] * tokens]), ("k",), ("kind",))

    made = StepLoader([batch(n) for n in (2, 5, 1, 4, 3)], 0, accumulate=2)  # type: ignore[arg-type]
    found = [one.part for one in made if one.part is not None]
    assert [(part.tokens, part.all, part.first) for part in found] == [
        (2, 7, True), (5, 7, False), (1, 5, True), (4, 5, False), (3, 3, True),
    ]  # fmt: skip


def test_a_penalty_on_answers_is_nought_where_nothing_has_been_learned(
    setup: Path, tmp_path: Path, uneven: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same places in base and model, at the first step."""
    found: list[float] = []
    losses = StageTwo.losses

    def spied(self: StageTwo, batch: Batch) -> Any:
        loss, penalty = losses(self, batch)
        found.append(float(penalty.detach()))
        return loss, penalty

    monkeypatch.setattr(StageTwo, "losses", spied)
    run(setup, tmp_path / "run", uneven, 4, 2, method="lwf")
    assert found[:2] == pytest.approx([0, 0], abs=1e-6)
    assert found[-1] > 1e-6
