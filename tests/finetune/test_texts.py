"""Several questions or answers of one sample: one a pass in training, the same for everyone; the first in measuring."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.captions import draw_place
from pairalign.data.pack import pack_pairs
from pairalign.demo.base import build_tokenizer
from pairalign.finetune.check import check_words
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Example, Task
from pairalign.finetune.texts import all_texts

CAPTIONS = ["soft", "it is soft", "a soft thing", "it gives way", "like cloth"]
QUESTIONS = ["what is it?", "how does it feel?", "is it hard?", "what do you feel?", "tell me"]


def task(folder: Path, rows: int = 6, **fields: Any) -> Task:
    found = [
        {"key": f"k{n}", "touch": np.full((4, 20), n, np.float32), "question": QUESTIONS, "answer": CAPTIONS, **fields}
        for n in range(rows)
    ]
    pack_pairs(found, folder, units={}, allow_constant=["touch"], progress=False)
    told = TaskConfig(shards=str(folder), prompt="{touch} {question}", answer="{answer}", split="train")
    return Task("grip", told, "", ["touch"])


def said(example: Example) -> tuple[str, str, str]:
    return example.key, example.parts[-1]["text"].strip(), example.answer


def test_a_pass_draws_one_of_each_samples_texts_and_questions_stay_with_their_answers(tmp_path: Path) -> None:
    passes = [said(e) for e in islice(task(tmp_path).shuffled(0, 7), 6 * 40)]
    for _, question, answer in passes:
        assert QUESTIONS.index(question) == CAPTIONS.index(answer)
    for n in range(6):
        counts = Counter(answer for key, _, answer in passes if key == f"k{n}")
        assert set(counts) == set(CAPTIONS)
        assert sum(counts.values()) == 40
    assert passes == [said(e) for e in islice(task_again(tmp_path).shuffled(0, 7), 6 * 40)]
    assert passes[60:] == [said(e) for e in islice(task_again(tmp_path).shuffled(60, 7), 6 * 40 - 60)]
    assert passes != [said(e) for e in islice(task_again(tmp_path).shuffled(0, 8), 6 * 40)]


def task_again(folder: Path) -> Task:
    told = TaskConfig(shards=str(folder), prompt="{touch} {question}", answer="{answer}", split="train")
    return Task("grip", told, "", ["touch"])


def test_what_is_kept_in_memory_is_drawn_anew_all_the_same(tmp_path: Path) -> None:
    class Processor:
        sensors: dict[str, Any] = {}  # noqa: RUF012

    streamed, kept = task(tmp_path), task_again(tmp_path)
    kept.keep(Processor(), 1.0)  # type: ignore[arg-type]
    assert kept.kept is not None
    one, other = ([said(e) for e in islice(t.shuffled(0, 3), 60)] for t in (streamed, kept))
    assert one == other
    assert [said(e) for e in streamed.read()] == [said(e) for e in kept.read()]


def test_texts_count_in_what_is_kept_in_memory(tmp_path: Path) -> None:
    class Processor:
        sensors: dict[str, Any] = {}  # noqa: RUF012

    found = task(tmp_path)
    found.keep(Processor(), 4 * 300 / 2**30)  # type: ignore[arg-type]
    assert found.kept is None  # six samples of ten texts each, and nothing else


def test_measuring_takes_the_first(tmp_path: Path) -> None:
    found = task(tmp_path)
    assert {said(e)[1:] for e in found.read()} == {(QUESTIONS[0], CAPTIONS[0])}
    assert set(found.answers()) == {CAPTIONS[0]}


def test_every_one_of_them_is_looked_at_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = task(tmp_path, question="is it soft?", answer=["soft", "hard", "<image>"])
    with pytest.raises(ConfigError, match=r"task 'grip', sample 'k\d': the answer '<image>' spells"):
        check_words({"tasks": [found]}, build_tokenizer())
    monkeypatch.setattr(Task, "references", lambda self, sample: ["soft", "a \ud83d"])  # of shards of another writer
    with pytest.raises(ConfigError, match=r"sample 'k\d': the answer .*: character 2 is half of one"):
        check_words({"tasks": [found]}, build_tokenizer())


def test_lists_of_unequal_length_and_single_texts_go_together(tmp_path: Path) -> None:
    found = task(tmp_path, question="what is it?", answer=["soft", "hard"])
    drawn = {said(e)[1:] for e in islice(found.shuffled(0, 0), 60)}
    assert drawn == {("what is it?", "soft"), ("what is it?", "hard")}


@pytest.mark.parametrize(
    ("value", "words"), [({"a": 1}, "a dict"), ([], "an empty list"), (["a", None], "a list"), (None, "a NoneType")]
)
def test_what_is_no_text_is_refused_by_name(value: Any, words: str) -> None:
    with pytest.raises(DataError, match=f"sample 'k': holds {words}"):
        all_texts(value, "sample 'k':")


def test_places_are_spread() -> None:
    counts = Counter(draw_place(0, epoch, "k") % 5 for epoch in range(1000))
    assert min(counts.values()) > 150
