"""One question as a chat message's parts: one text out of several, signals as a sensor gives them.

Note:
    A signal of a frozen sensor is encoded once and for all; one whose encoder trains stays as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pairalign.data.captions import text_at
from pairalign.sensors.bridges.bridge import SensorFeatures
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
    """The same examples with `SensorFeatures` in the place of signals, those of sensors that train aside."""
    frozen = [name for name, module in processor.sensors.items() if not module.tuned]
    places: dict[str, list[tuple[int, int]]] = {}
    for n, example in enumerate(examples):
        for m, part in enumerate(example.parts):
            if part["type"] in frozen and not isinstance(part[part["type"]], SensorFeatures):
                places.setdefault(part["type"], []).append((n, m))
    parts = [list(example.parts) for example in examples]
    for sensor, of in places.items():
        module = processor.sensors[sensor]
        values = processor.read({sensor: [examples[n].parts[m][sensor] for n, m in of]})[sensor]
        sensed = SensorFeatures(*(part.cpu() for part in module.perceive(values)))  # type: ignore[arg-type]
        for k, (n, m) in enumerate(of):
            parts[n][m] = {"type": sensor, sensor: SensorFeatures(*(part[k].clone() for part in sensed))}
    return [example._replace(parts=own) for example, own in zip(examples, parts, strict=True)]
