"""Batches of prompts of like length: less padding, and every promise that the order of samples keeps without them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_two import PAIRS, TOUCH, killed, short_run

from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs
from pairalign.finetune.buckets import Buckets, count_tokens
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.sampling import TaskDataset
from pairalign.finetune.tasks import Example, Task
from pairalign.sensors.processor import load_base

STEPS, SIZE = 4, 8
WORDS = {"shards": "words", "prompt": "{question}", "answer": "{answer}"}
COUNT = 90


class Words:
    """Stands where a `Collator` does: keys with the words that each example says."""

    def __init__(self) -> None:
        self.tokenizer = _tokens

    def __call__(self, examples: list[Example]) -> list[tuple[str, int]]:
        return [(e.key, len(e.parts[0]["text"].split()) + len(e.answer.split())) for e in examples]


def _tokens(texts: list[str], add_special_tokens: bool) -> dict[str, list[list[str]]]:
    return {"input_ids": [text.split() for text in texts]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions of 1 to 60 words in several shards."""
    folder = tmp_path_factory.mktemp("lengths")
    draw = np.random.default_rng(0)
    for name, most in (("words", 60), ("others", 20)):
        rows = (
            {"key": f"{name}{n:03}", "split": "train", "question": "so " * int(draw.integers(1, most)), "answer": "yes"}
            for n in range(COUNT if name == "words" else 37)
        )
        pack_pairs(rows, folder / name, shard_samples=25, progress=False)
    return folder


def dataset(
    place: Path, start: int = 0, rank: int = 0, world: int = 1, *, accumulate: int = 1, **how: Any
) -> TaskDataset:
    told = [("words", 2.0), ("others", 1.0)]
    tasks = [Task(n, TaskConfig(**{**WORDS, "shards": n, "weight": weight}), place, []) for n, weight in told]
    buckets = how.get("buckets", STEPS)
    size = SIZE // world // accumulate
    made = TaskDataset(tasks, Words(), size, 3, rank, world, accumulate, None, buckets)  # type: ignore[arg-type]
    made.start = start
    return made


def padding(batches: list[list[tuple[str, int]]]) -> float:
    """The share of padding in batches that are as long as their longest."""
    held = sum(max(length for _, length in batch) * len(batch) for batch in batches)
    return 1 - sum(length for batch in batches for _, length in batch) / held


def test_batches_hold_less_padding_and_every_sample_once_a_pass(place: Path) -> None:
    found: dict[Any, Any] = {buckets: list(islice(dataset(place, buckets=buckets), 64)) for buckets in (False, STEPS)}
    assert padding(found[STEPS]) < 0.8 * padding(found[False])
    for name, count in (("words", COUNT), ("others", 37)):
        seen = [key for batch in found[STEPS] for key, _ in batch if key.startswith(name)]
        plain = [key for batch in found[False] for key, _ in batch if key.startswith(name)]
        assert len(set(seen[:count])) == len(set(seen[count : 2 * count])) == count
        assert seen[:count] != seen[count : 2 * count]
        assert set(seen[:count]) == set(plain[:count])


def test_nothing_leaves_its_window(place: Path) -> None:
    """So that what is read is read as near to where it lies as without."""
    for first in range(0, 32, STEPS):
        parts = [list(islice(dataset(place, first, buckets=buckets), STEPS)) for buckets in (False, STEPS)]
        plain, sorted_ = ({pair for batch in part for pair in batch} for part in parts)
        assert plain == sorted_


def test_lengths_do_not_rise_along_the_steps_and_short_ones_of_all_tasks_meet(place: Path) -> None:
    longest = [[max(n for key, n in batch if key.startswith(name)) for name in ("words", "others")]
               for batch in islice(dataset(place), 4 * STEPS)]  # fmt: skip
    windows = [longest[n : n + STEPS] for n in (0, STEPS)]  # within a pass of both
    assert any(window != sorted(window) for window in windows)
    for window in windows:
        words, others = (np.argsort([step[n] for step in window], kind="stable") for n in (0, 1))
        assert words.tolist() == others.tolist()


@pytest.mark.parametrize("start", [0, 7])
def test_workers_processes_accumulation_and_resumption_change_no_step(place: Path, start: int) -> None:
    whole = list(islice(dataset(place), 40))
    assert list(islice(dataset(place, start), 40 - start)) == whole[start:]
    halves = [list(islice(dataset(place, start, rank, 2), 40 - start)) for rank in (0, 1)]
    parts = list(islice(dataset(place, 2 * start, accumulate=2), 2 * (40 - start)))
    for step, batch in enumerate(whole[start:]):
        assert (
            sorted(batch) == sorted(halves[0][step] + halves[1][step]) == sorted(parts[2 * step] + parts[2 * step + 1])
        )


def test_loader_workers_and_samples_in_memory_give_the_same_order(place: Path) -> None:
    whole, kept = list(islice(dataset(place), 20)), dataset(place)
    loaded = [[tuple(pair) for pair in batch] for batch in islice(BatchLoader(dataset(place, 3), 2), 17)]
    assert loaded == whole[3:]
    for task in kept.tasks:
        task.kept = list(task.read())
    assert list(islice(kept, 20)) == whole


def test_an_order_is_of_the_seed_and_the_lengths(place: Path) -> None:
    order = np.stack([np.zeros(30, int), np.arange(30)], 1)
    made: Callable[..., Buckets] = lambda seed, lengths: Buckets(lengths, np.array([0, 30]), 4, 3, seed)  # noqa: E731
    lengths = np.arange(30) % 7
    one = made(0, lengths)(order, 0)
    assert np.array_equal(one, made(0, lengths)(order, 0))
    assert not np.array_equal(one, made(1, lengths)(order, 0))
    assert not np.array_equal(one, made(0, -lengths)(order, 0))
    assert np.array_equal(np.sort(one[:, 1]), np.arange(30))


def test_tokens_of_questions_and_answers_count(setup: Path) -> None:
    _, processor = load_base(str(setup / "base"))
    task = Task("pairs", TaskConfig(**{**PAIRS, "limit": 5}), setup, ["touch"])
    counts = count_tokens(task, processor.tokenizer)
    texts = [[p["text"] for p in e.parts if p["type"] == "text"] + [e.answer] for e in task.read()]
    question = [len(processor.tokenizer(" ".join(one), add_special_tokens=False)["input_ids"]) for one in texts]
    assert counts.shape == (5,)
    assert np.abs(counts - np.array(question)).max() <= 1


def test_a_run_that_was_killed_in_a_pass_goes_on_to_the_bit(setup: Path, tmp_path: Path) -> None:
    train = {"steps": 4, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "checkpoint_every": 1}
    told: dict[str, Any] = {"train": {**train, "length_buckets": 3, "measure_tokens": 0}, "validation": {}}
    told |= {"held_out": {}, "calibration": {}, "dormant": {"score": "magnitude", "structure": "rows", "density": 0.2}}
    told["tasks"] = {"touch": TOUCH}
    whole = short_run(setup, tmp_path / "whole", **told).model.state_dict()
    with killed(2):
        short_run(setup, tmp_path / "run", **told)
    found = short_run(setup, tmp_path / "run", **told).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.items())
