"""Measuring: streamed, in shares, the same whatever the batch; drift in bounded memory; texts compared, not tokens."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from ranks import command_in_ranks
from stage_two import IMAGE, TOUCH, Base, settings, short_run, values

from pairalign.core.errors import DataError
from pairalign.evaluate.forgetting import drift
from pairalign.finetune import measure
from pairalign.finetune.base_answers import TOKENS, BaseAnswers
from pairalign.finetune.collator import IGNORED, Batch, Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.measure import (
    Tally,
    TaskScore,
    answer_logits,
    exact_texts,
    free_answers,
    has_words,
    measure_task,
    remember_base,
)
from pairalign.finetune.questions import Questions
from pairalign.finetune.run import read_tasks
from pairalign.finetune.tasks import Task
from pairalign.runtime import Runtime


def questions(setup: Path, base: Base, size: int, memory: float = 0.0, **task: Any) -> Questions:
    told = TaskConfig(**{**TOUCH, "split": "val", **task})
    return Questions(Task("touch", told, setup, ["touch"]), Collator(base[1]), size, memory)


def close(one: TaskScore, other: TaskScore) -> None:
    assert one.kinds == other.kinds
    known = [name for name in ("accuracy", "loss", "mass", "drift") if getattr(one, name) is not None]
    for name in known:
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-5, abs=1e-6), name


def test_a_measurement_does_not_depend_on_the_batch(setup: Path, base: Base) -> None:
    known = remember_base(base[0], questions(setup, base, 7))
    with torch.no_grad():
        weight = base[0].llm.model.language_model.layers[0].mlp.up_proj.weight  # type: ignore[union-attr, index]
        weight.add_(0.3)
    found = {
        size: measure_task(base[0], questions(setup, base, size), vocabulary=[5, 9], base=known) for size in (1, 5, 32)
    }
    for score in found.values():
        close(score, found[1])
    losses, tokens, moved = 0.0, 0, []
    for one in questions(setup, base, 1).ask():  # by hand, sample by sample
        batch = Collator(base[1])(one.examples)
        with torch.no_grad():
            now, labels = answer_logits(base[0], batch)
            weight.sub_(0.3)
            old, _ = answer_logits(base[0], batch)
            weight.add_(0.3)
        places = labels != IGNORED
        losses += float(F.cross_entropy(now[places], labels[places], reduction="sum"))
        tokens += int(places.sum())
        moved.append(float(drift(old, now, places)))
    with torch.no_grad():
        weight.sub_(0.3)
    assert found[32].loss == pytest.approx(losses / tokens, rel=1e-5)
    assert found[32].drift == pytest.approx(sum(moved) / len(moved), rel=1e-3)
    assert min(moved) > 0


@dataclass(frozen=True)
class Part(Runtime):
    """One process, whose tallies are put aside for a sum by hand."""

    seen: list[Any] = field(default_factory=list)

    def all_gather_object(self, value: Any) -> list[Any]:
        self.seen.append(value)
        return [Tally({"it": [0, 1]}, 1, 1)] if isinstance(value, Tally) else [value]


@pytest.mark.parametrize(("count", "world", "size"), [(24, 3, 5), (24, 5, 32), (2, 4, 3)])
def test_shares_add_up_and_every_process_makes_as_many_passes(
    setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch, count: int, world: int, size: int
) -> None:
    passes: list[int] = []
    answers = measure.answer_logits
    monkeypatch.setattr(measure, "answer_logits", lambda *a: (passes.append(1), answers(*a))[1])
    whole, tally = measure_task(base[0], questions(setup, base, size, limit=count)), Tally()
    keys: list[str] = []
    counted = []
    for rank in range(world):
        passes.clear()
        asked = questions(setup, base, size, limit=count)
        process = Part(rank=rank, world=world)
        measure_task(base[0], asked, runtime=process)
        tally.add(process.seen[0])
        counted.append(len(passes))
        keys += [e.key for one in asked.ask(rank, world) if one.counts for e in one.examples]
    close(tally.score(mass=False, drift=False), whole)
    assert keys == [e.key for e in questions(setup, base, size, limit=count).task.read()]
    assert len(set(counted)) == 1


def test_held_out_sets_are_collated_one_batch_at_a_time(
    setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Batch] = weakref.WeakSet()
    most: list[int] = []
    make = Batch.__init__

    def made(self: Batch, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        alive.add(self)
        most.append(len(alive))

    monkeypatch.setattr(Batch, "__init__", made)
    monkeypatch.setattr(Batch, "__hash__", object.__hash__)
    config = settings(setup, setup / "unused", calibration={}, train={"measure_batch_size": 2})
    _, sets, _ = read_tasks(config, base[1])
    assert not most  # nothing is read before it is asked
    for asked in [*sets["validation"], *sets["held_out"]]:
        measure_task(base[0], asked)
    assert len(most) == 2 * 2 * 12  # a batch, and the same on the device
    assert max(most) <= 4


@pytest.mark.parametrize("memory", [0.0, 1.0, 1e-6])
def test_what_fits_is_read_once(setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch, memory: float) -> None:
    read: list[str] = []
    example = Task._example
    monkeypatch.setattr(Task, "_example", lambda self, s: (read.append(s.key), example(self, s))[1])
    asked = questions(setup, base, 10, memory)
    first, second = (measure_task(base[0], asked) for _ in range(2))
    assert first == second
    assert len(read) == (24 if memory == 1 else 48)


def test_a_task_without_samples_is_refused(setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "__len__", lambda self: 0)
    with pytest.raises(DataError, match=r"task 'touch': .*split 'val', has no samples"):
        questions(setup, base, 10)


@pytest.mark.parametrize("vocabulary", [60, 40_000])
def test_the_base_is_remembered_in_little_memory(vocabulary: int) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([[IGNORED, 3, 4], [5, 6, 7]])
    old = [3 * torch.randn(2, 3, vocabulary, generator=draw) for _ in range(4)]
    kept = BaseAnswers.join([BaseAnswers.of(one, labels >= 0) for one in old])
    held = sum(t.numel() * t.element_size() for t in (*kept.likely, kept.starts))
    assert held <= 4 * 5 * (8 * TOKENS + 4) + 8 * 9
    for n, one in enumerate(old):
        now = one + torch.randn(one.shape, generator=draw)
        exact, found = drift(one, now, labels >= 0), kept.drifts(2 * n, now, labels >= 0)
        if vocabulary <= TOKENS:
            torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
        assert bool((found <= exact + 1e-6).all())
        assert bool((found > 0.1 * exact).all())  # also for a base that is unsure among 40,000 words
    again = BaseAnswers.from_state(kept.state())
    assert torch.equal(again.drifts(0, old[0], labels >= 0), kept.drifts(0, old[0], labels >= 0))
    assert kept.drifts(6, old[3], labels >= 0).abs().max() < 1e-5


def test_texts_are_compared_not_tokens() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "</s>", "▁soft", "soft", "▁hard", "<pad>"]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>", pad_token="<pad>")

    def exact(said: Sequence[int], right: Sequence[int]) -> bool:
        logits = F.one_hot(torch.tensor([said]), len(words)).float()
        return exact_texts(logits, torch.tensor([right]), tokenizer)[0]

    assert exact([4, 2, 1], [IGNORED, 2, 1])
    assert exact([4, 3, 1], [IGNORED, 2, 1])  # another token, the same text
    assert not exact([4, 4, 1], [IGNORED, 2, 1])
    assert not exact([4, 2, 4], [IGNORED, 2, 1])  # does not end
    assert not exact([4, 2, 5], [IGNORED, 2, 1])
    assert not exact([0, 0, 1], [IGNORED, 0, 1])  # an answer that the base has no word for


@pytest.mark.parametrize(
    ("said", "right", "there"),
    [
        ("It is soft.", "soft", True),
        ("Soft", "soft.", True),
        ("softer", "soft", False),
        ("very soft, like  wool", "soft like wool", True),
        ("like wool, soft", "soft like wool", False),
        ("", "soft", False),
        ("yes!", "!", True),
    ],
)
def test_words_are_found_in_a_free_answer(said: str, right: str, there: bool) -> None:
    assert has_words(said, right) == there


def test_a_missing_full_stop_is_no_lost_word(setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = questions(setup, base, 9)
    right = iter([example.answer for example in asked.task.read()])
    monkeypatch.setattr(
        measure, "answer_all", lambda m, p, inputs, n: [f"it is {next(right)} ." for _ in inputs["input_ids"]]
    )
    found = free_answers(base[0], asked, 8)
    assert (found.value, found.n) == (1.0, 24)
    assert found.low < 0.9


def test_free_answers_are_in_the_results_of_the_base_and_of_what_is_kept(setup: Path, tmp_path: Path) -> None:
    train = {**values(setup, tmp_path)["train"], "measure_tokens": 3}
    run = short_run(setup, tmp_path / "run", train=train)
    for measured in ("base", "after"):
        for part, task in (("validation", "touch"), ("held_out", "image")):
            found = run.results[measured][part][task]["contains"]
            assert found["n"] == 24
            assert found["low"] <= found["value"] <= found["high"]
    asked = ["held_out/image/contains" in line for line in run.results["history"]]
    assert asked == [True, False, True]
    task = Task("image", TaskConfig(**{**IMAGE, "split": "val"}), setup, ["touch"])
    again = free_answers(run.model, Questions(task, Collator(run.processor), 5), 3)
    assert replace(again, level=0.95) == type(again)(**run.results["after"]["held_out"]["image"]["contains"])


@pytest.mark.slow
def test_two_processes_measure_what_one_does(setup: Path, tmp_path: Path) -> None:
    one_each = {"one": {**TOUCH, "split": "val", "limit": 1}, "touch": {**TOUCH, "split": "val", "limit": 23}}
    told = values(setup, tmp_path / "run", validation=one_each, method="full")
    told["train"] |= {"steps": 0, "measure_batch_size": 4, "measure_tokens": 3}
    found = [short_run(setup, tmp_path / "alone", **{k: told[k] for k in ("validation", "method", "train")}).results]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    codes, said = command_in_ranks(["recompose", str(tmp_path / "run.yaml"), "--quiet"], tmp_path)
    assert codes == [0, 0], said
    found.append(json.loads((tmp_path / "run" / "results.json").read_text()))
    for part, tasks in found[0]["base"].items():
        for name, score in tasks.items():
            close(TaskScore.from_dict(score), TaskScore.from_dict(found[1]["base"][part][name]))
            assert score["contains"] == found[1]["base"][part][name]["contains"]


def test_chance_of_a_kind_is_its_commonest_right_answer_over_all_processes() -> None:
    whole = Tally({"it": [1, 2]}, 2, 2, answers={"it": Counter(["hard", "soft"])})
    whole.add(Tally({"it": [0, 2], "old": [1, 1]}, 3, 3, answers={"it": Counter(["hard", "hard"])}))
    kinds = whole.score(False, False).kinds
    assert kinds["it"].chance == 3 / 4
    assert kinds["old"].chance is None
