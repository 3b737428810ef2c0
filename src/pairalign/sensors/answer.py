"""One question to a model with sensors, answered in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count
from pairalign.core.errors import DataError
from pairalign.data.picture import rgb_picture
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor, to_device
from pairalign.sensors.prompt import FIELD, message_parts, split_prompt

GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}


class Said(NamedTuple):
    """An answer in words, and where it has none, `silence`: why."""

    text: str
    silence: str = ""


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
    """What the model says, "" if nothing; greedy unless `options` say otherwise.

    `{image}` or a sensor's name in braces puts the next of them there; the rest comes first, in the order given.

    Args:
        model: with its sensors, as `load_sensor_model` or `load_recomposed` gives it.
        processor: the same.
        question: what the user says.
        images: PIL pictures.
        signals: raw values by sensor.
        tokens: longest answer.
        **options: of `generate`.

    Returns:
        The answer alone.

    Raises:
        DataError: where the question names more than it was given.
    """
    return ask_model(model, processor, question, images=images, signals=signals, tokens=tokens, **options).text


@checked()
def ask_model(
    model: SensorModel,
    processor: SensorProcessor,
    question: str,
    *,
    images: Sequence[Any] = (),
    signals: Mapping[str, Sequence[Any]] | None = None,
    tokens: Count = 64,
    **options: Any,
) -> Said:
    """What the model says. images: PIL pictures. signals: raw values by sensor. options: of `generate`.

    `{image}` or a sensor's name in braces puts the next of them there; the rest comes first, in the order given.
    Raise `DataError` where the question names more than it was given.
    """
    inputs = question_inputs(model, processor, question, images=images, signals=signals)
    return said_by(model, processor, inputs, tokens=tokens, **options)


def question_inputs(
    model: SensorModel,
    processor: SensorProcessor,
    question: str,
    *,
    images: Sequence[Any] = (),
    signals: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Any]:
    """What the model is called with for a question, on its device; arguments and errors are `ask_model`'s."""
    given: dict[str, list[Any]] = {"image": list(images), **{n: list(v) for n, v in (signals or {}).items()}}
    parts: list[dict[str, Any]] = []
    for piece in split_prompt(question):
        name = piece[1:-1] if FIELD.fullmatch(piece) else ""
        if name and (name == "image" or name in processor.placeholders):
            if not given.get(name):
                raise DataError(f"question {question!r} has more {piece} than were given.")
            parts.append({"type": name, name: given[name].pop(0)})
        else:
            processor.check_text(piece, "question")
            parts.append({"type": "text", "text": piece})
    rest = [{"type": name, name: value} for name, values in given.items() for value in values]
    first = [part for value in rest for part in (value, {"type": "text", "text": " "})]  # as "{touch} question" reads
    talk: list[dict[str, Any]] = [{"role": "user", "content": message_parts([*first, *parts])}]
    pictures = [rgb_picture(part["image"]) for part in talk[0]["content"] if part["type"] == "image"]
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    inputs = processor(text, signals=processor.signals_of(talk), **({"images": pictures} if pictures else {}))
    moved: dict[str, Any] = to_device(inputs, model.device)
    return moved


def said_by(
    model: SensorModel, processor: SensorProcessor, inputs: Mapping[str, Any], *, tokens: int, **options: Any
) -> Said:
    """What the model says to one prompt's inputs; greedily, unless `options`, those of `generate`, say otherwise."""
    how = {"do_sample": False, **ends_of(model, processor), **options}
    said = model.generate(**inputs, max_new_tokens=tokens, **how)
    text = processor.decode(said, inputs["input_ids"])[0]
    return Said(text, "" if text else _silence(processor, said[0, inputs["input_ids"].shape[1] :].tolist()))


def _silence(processor: SensorProcessor, said: list[int]) -> str:
    """Why tokens that were generated are no words."""
    unknown, ends = (
        processor.tokenizer.unk_token_id,
        (processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id),
    )
    if unknown is not None and unknown in said and unknown not in ends:
        return (
            f"the answer is {said.count(unknown)} unknown tokens and no word: the base has no words for what it was "
            "taught to say."
        )
    return f"the answer is empty: the model ended it at once, after {len(said)} tokens that are no words."


def answer_all(
    model: SensorModel, processor: SensorProcessor, inputs: Mapping[str, Any], tokens: int, **options: Any
) -> list[str]:
    """Greedy answers, at most `tokens` long, to a batch of prompts that the processor made, padded on the left."""
    moved = to_device(inputs, model.device)
    said = model.generate(**moved, max_new_tokens=tokens, **GREEDY, **ends_of(model, processor), **options)
    return processor.decode(said, moved["input_ids"])


def ends_of(model: SensorModel, processor: SensorProcessor) -> dict[str, Any]:
    """What fills up and what ends an answer: also the tokenizer's end token, which is what answers are taught to end
    with, where the model's own settings name another or none."""
    end, padding = processor.tokenizer.eos_token_id, {"pad_token_id": processor.tokenizer.pad_token_id}
    own = getattr(getattr(model.llm, "generation_config", None), "eos_token_id", None)
    ends = [own] if isinstance(own, int) else list(own or [])
    if end is None or end in ends:
        return padding
    return {**padding, "eos_token_id": [*ends, end]}
