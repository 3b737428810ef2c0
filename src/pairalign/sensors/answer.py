"""One question to a model with senses, answered in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairalign.core.errors import DataError
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

FIELD = re.compile(r"(\{\w+\})")


def answer(
    model: SensorModel,
    processor: SensorProcessor,
    question: str,
    *,
    images: Sequence[Any] = (),
    signals: Mapping[str, Sequence[Any]] | None = None,
    tokens: int = 64,
    **options: Any,
) -> str:
    """What the model says. images: PIL pictures. signals: raw values by sensor. options: of `generate`.

    `{image}` or a sensor's name in braces puts the next of them there; the rest comes first, in the order given.
    Raise `DataError` where the question names more than it was given.
    """
    given: dict[str, list[Any]] = {"image": list(images), **{n: list(v) for n, v in (signals or {}).items()}}
    parts: list[dict[str, Any]] = []
    for piece in FIELD.split(question):
        name = piece[1:-1] if FIELD.fullmatch(piece) else ""
        if name and (name == "image" or name in processor.placeholders):
            if not given.get(name):
                raise DataError(f"question {question!r} has more {piece} than were given.")
            parts.append({"type": name, name: given[name].pop(0)})
        elif piece.strip():
            parts.append({"type": "text", "text": piece.strip()})
    first = [{"type": name, name: value} for name, values in given.items() for value in values]
    talk = [{"role": "user", "content": [*first, *parts]}]
    pictures = [part["image"].convert("RGB") for part in talk[0]["content"] if part["type"] == "image"]  # type: ignore[index]
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    inputs = processor(text, signals=processor.signals_of(talk), **({"images": pictures} if pictures else {}))
    inputs = {name: value.to(model.device) if hasattr(value, "to") else value for name, value in inputs.items()}
    said = model.generate(**inputs, max_new_tokens=tokens, **{"do_sample": False, **options})
    return processor.decode(said, inputs["input_ids"])[0]
