"""Held-out questions with a signal in the prompt that has nothing to do with them, put there by the library.

Signals are of the run's own data: of validation tasks, or else of training tasks. One stands "before" everything that
the user says, or "behind" the last part that is no text (at the end, where all is text); the answer stays what it was.

Note:
    Of several sensors one is drawn for each question. What is drawn depends on the seed, the task's name and the
    question's place alone, so that every process, method and position asks with the same signals. A chat template that
    writes pictures before all text, wherever they stand, makes both positions one for questions about pictures.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pairalign.finetune.questions import Asked, Questions
from pairalign.finetune.tasks import Example, Task
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.prompt import message_parts

Position = Literal["before", "behind"]
POSITIONS: tuple[Position, ...] = ("before", "behind")
KEPT = 64  # signals of each sensor to draw from
BLANK = {"type": "text", "text": " "}


@dataclass(frozen=True)
class Signals:
    """by_sensor: signals as stage one encodes them, none empty. tasks: where those of each sensor come from."""

    by_sensor: Mapping[str, Sequence[SensorFeatures]]
    tasks: Mapping[str, Sequence[str]]
    seed: int = 0

    def draw(self, task: str, place: int) -> tuple[str, SensorFeatures]:
        """A sensor and one of its signals, for the question at a place of a task."""
        drawn = random.Random(f"{self.seed} {task} {place}")
        sensor = drawn.choice(sorted(self.by_sensor))
        return sensor, drawn.choice(self.by_sensor[sensor])

    def sensors(self, task: str, count: int) -> dict[str, int]:
        """How many of a task's first questions get a signal of each sensor."""
        return dict(sorted(Counter(self.draw(task, place)[0] for place in range(count)).items()))


def gather_signals(
    tasks: Mapping[str, Sequence[Task]], processor: SensorProcessor, seed: int, count: int = KEPT
) -> Signals:
    """At most `count` signals of every sensor that a task shows, from the first part of `tasks` that shows it."""
    found: dict[str, list[SensorFeatures]] = {}
    origin: dict[str, list[str]] = {}
    for sensor in processor.sensors:
        for part, named in tasks.items():
            shown = [task for task in named if sensor in task.sensor.values()]
            if signals := list(_signals(shown, sensor, processor, seed, count)):
                found[sensor], origin[sensor] = signals, [f"{part}.{task.name}" for task in shown]
                break
    return Signals(found, origin, seed)


def _signals(
    tasks: Sequence[Task], sensor: str, processor: SensorProcessor, seed: int, count: int
) -> Iterator[SensorFeatures]:
    """Of questions drawn from all tasks alike, the first signal of each that can be read."""
    total = sum(map(len, tasks))
    drawn = sorted(random.Random(f"{seed} {sensor}").sample(range(total), min(count, total)))
    start = 0
    for task in tasks:
        places = [place - start for place in drawn if start <= place < start + len(task)]
        start += len(task)
        for example in task.encoded(list(task.at(places)), processor):
            if example is not None:
                yield next(part[sensor] for part in example.parts if part["type"] == sensor)


def with_signal(parts: Sequence[dict[str, Any]], sensor: str, signal: Any, position: Position) -> list[dict[str, Any]]:
    """A message's parts with one more, a blank between it and text beside it."""
    own, seen = {"type": sensor, sensor: signal}, [n for n, part in enumerate(parts) if part["type"] != "text"]
    place = 0 if position == "before" else seen[-1] + 1 if seen else len(parts)
    left, right = list(parts[:place]), list(parts[place:])
    before = [BLANK] if left and left[-1]["type"] == "text" else []
    after = [BLANK] if right and not _begins_blank(right[0]) else []
    return message_parts([*left, *before, own, *after, *right])


def _begins_blank(part: Mapping[str, Any]) -> bool:
    return part["type"] == "text" and part["text"][:1].isspace()


class SignalQuestions(Questions):
    """The questions of `asked`, each with one of `signals` at a position."""

    def __init__(self, asked: Questions, signals: Signals, position: Position) -> None:
        super().__init__(asked.task, asked.collate, asked.size)
        self.asked, self.signals, self.position = asked, signals, position

    def ask(self, rank: int = 0, world: int = 1) -> Iterator[Asked]:
        """As those of `asked`, in the same shares."""
        for one in self.asked.ask(rank, world):
            yield one._replace(examples=[self._put(one.first + n, example) for n, example in enumerate(one.examples)])

    def _put(self, place: int, example: Example) -> Example:
        sensor, signal = self.signals.draw(self.task.name, place)
        return example._replace(parts=with_signal(example.parts, sensor, signal, self.position))


def first_of(asked: Questions, count: int) -> Questions:
    """The first `count` questions; the same object where there are no more."""
    return asked if len(asked.task) <= count else Questions(asked.task.first(count), asked.collate, asked.size)
