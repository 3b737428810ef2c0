"""Questions with a signal that has nothing to do with them: where it stands, whose it is, the same in every share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import IMAGE, TOUCH, Base

from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.irrelevant import (
    POSITIONS,
    Position,
    SignalQuestions,
    Signals,
    first_of,
    gather_signals,
    with_signal,
)
from pairalign.finetune.questions import Asked, Questions
from pairalign.finetune.tasks import Task, encode_once


def task(setup: Path, name: str = "touch", **told: Any) -> Task:
    plain = {"touch": TOUCH, "image": IMAGE}[name]
    return Task(name, TaskConfig(**{**plain, "split": "val", **told}), setup, ["touch"])


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


PICTURE, OWN = {"type": "image", "image": "it"}, {"type": "touch", "touch": "its own"}
PUT = {"type": "touch", "touch": "put"}


@pytest.mark.parametrize(
    ("parts", "position", "expected"),
    [
        ([PICTURE, text("what?")], "before", [PUT, text(" "), PICTURE, text("what?")]),
        ([PICTURE, text("what?")], "behind", [PICTURE, PUT, text(" what?")]),
        ([text("what is"), PICTURE], "behind", [text("what is"), PICTURE, PUT]),
        ([PICTURE, text("like"), PICTURE, text(" or?")], "behind", [PICTURE, text("like"), PICTURE, PUT, text(" or?")]),
        ([text("two words")], "before", [PUT, text(" two words")]),
        ([text("two words")], "behind", [text("two words "), PUT]),
        ([text("of"), OWN, text(" say")], "behind", [text("of"), OWN, PUT, text(" say")]),
    ],
)
def test_a_signal_stands_before_all_or_behind_the_last_that_is_no_text(
    parts: list[dict[str, Any]], position: Position, expected: list[dict[str, Any]]
) -> None:
    given = [dict(part) for part in parts]
    assert with_signal(parts, "touch", "put", position) == expected
    assert parts == given


def drawn(signals: Signals, name: str = "image") -> list[list[float]]:
    return [signals.draw(name, place)[1].shared.tolist() for place in range(24)]


def test_the_same_seed_gives_the_same_pairs_and_another_one_others(setup: Path, base: Base) -> None:
    tasks = {"validation": [task(setup)]}
    one, same, other = (gather_signals(tasks, base[1], seed, 8) for seed in (3, 3, 4))
    assert drawn(one) == drawn(same)
    assert drawn(one) != drawn(other)
    assert len({tuple(shared) for shared in drawn(one)}) > 4  # not one signal for all
    assert drawn(one) != drawn(one, "words")


def test_signals_are_of_validation_or_else_of_training_as_stage_one_encodes_them(setup: Path, base: Base) -> None:
    held, taught = task(setup), task(setup, split="train")
    found = gather_signals({"validation": [task(setup, "image"), held], "tasks": [taught]}, base[1], 0, 100)
    assert found.tasks == {"touch": ["validation.touch"]}
    expected = [one.parts[0]["touch"].shared for one in encode_once(list(held.read()), base[1])]
    assert torch.allclose(torch.stack([one.shared for one in found.by_sensor["touch"]]), torch.stack(expected))
    found = gather_signals({"validation": [task(setup, "image")], "tasks": [taught]}, base[1], 0, 5)
    assert found.tasks == {"touch": ["tasks.touch"]}
    assert len(found.by_sensor["touch"]) == 5
    taught.keep(base[1], 1.0)
    again = gather_signals({"tasks": [taught]}, base[1], 0, 5)
    assert torch.allclose(torch.tensor(drawn(again)), torch.tensor(drawn(found)), atol=1e-5)  # read from memory
    assert gather_signals({"validation": [task(setup, "image")]}, base[1], 0).by_sensor == {}


def test_a_damaged_training_sample_gives_no_signal(setup: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = task(setup, split="train")
    taught.tolerate(1.0)
    bad = next(iter(taught.read())).key
    example = Task._example
    monkeypatch.setattr(Task, "_example", lambda self, s: damaged(s.key) if s.key == bad else example(self, s))
    found = gather_signals({"tasks": [taught]}, base[1], 0, 48)
    assert len(found.by_sensor["touch"]) == 47


def damaged(key: str) -> Any:
    from pairalign.core.errors import DataError

    raise DataError(f"{key} cannot be read")


@pytest.mark.parametrize("world", [2, 5])
@pytest.mark.parametrize("position", POSITIONS)
def test_every_share_asks_with_the_signals_that_one_process_does(
    setup: Path, base: Base, world: int, position: Position
) -> None:
    signals = gather_signals({"validation": [task(setup)]}, base[1], 0)
    asked = SignalQuestions(Questions(task(setup, "image"), Collator(base[1]), 7), signals, position)

    def shown(parts: list[Asked]) -> list[tuple[str, list[float]]]:
        examples = [example for one in parts if one.counts for example in one.examples]
        return [(e.key, next(p["touch"] for p in e.parts if p["type"] == "touch").shared.tolist()) for e in examples]

    whole = shown(list(asked.ask()))
    assert whole == [one for rank in range(world) for one in shown(list(asked.ask(rank, world)))]
    assert [shared for _, shared in whole] == drawn(signals)  # at either position
    assert signals.sensors("image", 24) == {"touch": 24}


def test_the_first_of_a_task_are_the_task_itself_where_there_are_no_more(setup: Path, base: Base) -> None:
    asked = Questions(task(setup, "image"), Collator(base[1]), 7)
    assert first_of(asked, 24) is asked
    few = first_of(asked, 10)
    keys = [example.key for example in asked.task.read()]
    assert [e.key for one in few.ask() for e in one.examples] == keys[:10]
    assert len(asked.task) == 24
