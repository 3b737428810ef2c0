"""One question as a chat message's parts: one text out of several, signals as a sense gives them.

Note:
    A signal of a frozen sense is encoded once and for all; one whose encoder trains stays as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pairalign.data.captions import text_at
from pairalign.sensors.bridges.bridge import Sensed
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.prompt import message_parts


class Example(NamedTuple):
    """One question as a chat message's `parts`, signals and pictures in them, its answer, and all answers that its
    sample has."""

    key: str
    kind: str
    parts: list[dict[str, Any]]
    answer: str
    answers: tuple[str, ...] = ()


def one_text(example: Example, place: int = 0) -> Example:
    """An example with one text for each of its lists."""
    parts = [
        {"type": "text", "text": text_at(part["text"], place)} if isinstance(part.get("text"), list) else part
        for part in example.parts
    ]
    answer = text_at(example.answers, place) if example.answers else example.answer
    return example._replace(parts=message_parts(parts), answer=answer)


def encode_once(examples: Sequence[Example], processor: SensorProcessor) -> list[Example]:
    """The same examples with `Sensed` in the place of signals, those of senses that train aside."""
    frozen = [name for name, sense in processor.senses.items() if not sense.tuned]
    places: dict[str, list[tuple[int, int]]] = {}
    for n, example in enumerate(examples):
        for m, part in enumerate(example.parts):
            if part["type"] in frozen and not isinstance(part[part["type"]], Sensed):
                places.setdefault(part["type"], []).append((n, m))
    parts = [list(example.parts) for example in examples]
    for sensor, of in places.items():
        sense = processor.senses[sensor]
        values = processor.read({sensor: [examples[n].parts[m][sensor] for n, m in of]})[sensor]
        sensed = Sensed(*(part.cpu() for part in sense.perceive(values)))  # type: ignore[arg-type]
        for k, (n, m) in enumerate(of):
            parts[n][m] = {"type": sensor, sensor: Sensed(*(part[k].clone() for part in sensed))}
    return [example._replace(parts=own) for example, own in zip(examples, parts, strict=True)]
