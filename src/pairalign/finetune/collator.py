"""Examples as batches of a model's inputs: written as the base's own chat template wants them, and padded.

Note:
    Batches are padded on the left, so that all answers end in the last column and logits of the rest need not be
    computed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.index import load_index
from pairalign.dormant.provenance import Calibration, record_samples
from pairalign.finetune.tasks import Example, Task
from pairalign.sensors.processor import SensorProcessor, to_device

IGNORED = -100


class Part(NamedTuple):
    """What a batch is of an optimizer step: `tokens` of `all` answer tokens that this process has in it, and
    `rehearsed` of `all_rehearsed` that are held to the base."""

    tokens: int
    all: int
    first: bool = True
    rehearsed: int = 0
    all_rehearsed: int = 0


class Rehearsed(NamedTuple):
    """Prompts that hold a signal, and what the base is `asked` for their answers' sake."""

    shown: Batch
    asked: Batch


@dataclass(frozen=True)
class Batch:
    """`inputs` of the model, `labels` (B, T) with −100 outside of answers, and which examples these are.

    part: of an optimizer step of several batches, see `pairalign.finetune.steps`; None for a step of its own.
    rehearsed: what is held to the base beside it, see `pairalign.finetune.rehearse`. before: what stands before the
    first signal of each, words and pictures, as a hash; None where nobody asked.
    """

    inputs: dict[str, Any]
    labels: Tensor
    keys: tuple[str, ...]
    kinds: tuple[str, ...]
    part: Part | None = None
    rehearsed: Rehearsed | None = None
    before: tuple[str, ...] | None = None

    @property
    def tokens(self) -> int:
        """Answer tokens, the ends of answers among them."""
        return int((self.labels != IGNORED).sum())

    @property
    def rehearsed_tokens(self) -> int:
        """Answer tokens that are held to the base."""
        return 0 if self.rehearsed is None else self.rehearsed.shown.tokens

    @property
    def columns(self) -> int:
        """Columns at the end that hold all answers."""
        return int((self.labels != IGNORED).any(0).sum())

    def to(self, device: torch.device) -> Batch:
        """Every tensor on a device."""
        also = None if self.rehearsed is None else Rehearsed(*(batch.to(device) for batch in self.rehearsed))
        return replace(self, inputs=to_device(self.inputs, device), labels=self.labels.to(device), rehearsed=also)


class Collator:
    """Examples → `Batch`, as the base's own chat template writes them. hashed: tell what stands before the signals."""

    def __init__(self, processor: SensorProcessor, *, hashed: bool = False) -> None:
        self.processor, self.tokenizer, self.hashed = processor, processor.tokenizer, hashed
        processor.check_template()
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                "the base has no end token, neither in its tokenizer nor in its generation config: an answer could not "
                "be taught to end. Name one as eos_token in tokenizer_config.json, or give a chat model."
            )

    def __call__(self, examples: Sequence[Example], ended: bool = False) -> Batch:
        """Prompts with their answers; `ended`: an empty one is the end token alone, else it is nothing."""
        prompts = self.prompts(examples)
        end = self.tokenizer.eos_token_id
        answers = [
            [*self.tokenizer(e.answer, add_special_tokens=False)["input_ids"], end] if e.answer or ended else []
            for e in examples
        ]
        batch = self._join(prompts, answers, examples)
        if not self.hashed:
            return batch
        return replace(batch, before=tuple(before_signal(example, self.processor.sensors) for example in examples))

    def prompts(self, examples: Sequence[Example]) -> dict[str, Any]:
        """What the processor makes of the questions alone, padded on the left."""
        for example in examples:
            for part in example.parts:
                if part["type"] == "text":
                    self.processor.check_text(part["text"], f"{example.kind}, sample {example.key!r}: its question")
        talks = [[{"role": "user", "content": e.parts}] for e in examples]
        texts = self.processor.apply_chat_template(talks, add_generation_prompt=True)
        signals: dict[str, list[Any]] = {}
        for talk in talks:
            for sensor, values in self.processor.signals_of(talk).items():
                signals.setdefault(sensor, []).extend(values)
        pictures = [[part["image"] for part in e.parts if part["type"] == "image"] for e in examples]
        images = {"images": [p for p in pictures if p]} if any(pictures) else {}
        options = {"padding": True, "padding_side": "left", **images}
        return self.processor(texts, signals=signals, **options)

    def _join(self, prompts: dict[str, Any], answers: list[list[int]], examples: Sequence[Example]) -> Batch:
        mask = prompts["attention_mask"].bool()
        rows = [[*ids[own].tolist(), *a] for ids, own, a in zip(prompts["input_ids"], mask, answers, strict=True)]
        length = max(map(len, rows))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        left = [length - len(row) for row in rows]
        inputs = dict(prompts)
        inputs["input_ids"] = torch.tensor([[pad] * n + row for n, row in zip(left, rows, strict=True)])
        inputs["attention_mask"] = torch.tensor([[0] * n + [1] * (length - n) for n in left])
        labels = torch.full((len(rows), length), IGNORED)
        for n, answer in enumerate(answers):
            labels[n, length - len(answer) :] = torch.tensor(answer, dtype=torch.int64)
        for name, value in prompts.items():  # type ids of tokens
            if name not in inputs or name in ("input_ids", "attention_mask", "signals"):
                continue
            if torch.is_tensor(value) and value.shape == mask.shape:
                kinds = [
                    [0] * n + v[own].tolist() + [0] * len(a)
                    for n, v, own, a in zip(left, value, mask, answers, strict=True)
                ]
                inputs[name] = torch.tensor(kinds, dtype=value.dtype)
        return Batch(inputs, labels, tuple(e.key for e in examples), tuple(e.kind for e in examples))


def before_signal(example: Example, sensors: Collection[str]) -> str:
    """SHA-256 of all that an example says before its first signal, pictures by their pixels; "" without a signal."""
    told = hashlib.sha256()
    for part in example.parts:
        kind = part["type"]
        if kind in sensors:
            return told.hexdigest()
        value = part[kind]
        about = f"{kind} {value.mode} {value.size}" if kind == "image" else f"{kind} {len(value)}"
        told.update(about.encode())
        told.update(value.tobytes() if kind == "image" else value.encode())
    return ""


def batches(task: Task, collate: Collator, size: int, count: int | None = None) -> Iterator[Batch]:
    """All examples of a task, or the first `count`, in stored order."""
    held: list[Example] = []
    for example in itertools.islice(task.read(), count):
        held.append(example)
        if len(held) == size:
            yield collate(held)
            held = []
    if held:
        yield collate(held)


def check_enough(task: Task, count: int) -> None:
    """Raise `DataError` if a calibration task has fewer than `count` samples."""
    if len(task) < count:
        raise DataError(
            f"calibration.{task.name}: {str(task.folder)!r} has {len(task)} samples, calibration_size={count} asks for "
            "more: give more samples or lower it."
        )


def calibration_batches(task: Task, collate: Collator, count: int, size: int = 8) -> Calibration:
    """The model's inputs for `count` examples, answers and labels included, with the keys of these and the task's name,
    a source's aside; raise `DataError` if the task has fewer."""
    check_enough(task, count)
    found, keys = Calibration(), list[str]()
    for batch in batches(task, collate, size, count):
        answered = bool((batch.labels != IGNORED).any())
        found.append({**batch.inputs, **({"labels": batch.labels} if answered else {})})
        found.tasks.append(task.name.partition("/")[0])
        keys += batch.keys
    told = {name: getattr(task.config, name) for name in ("shards", "split", "prompt", "answer")}
    content = load_index(task.folder).content_hash
    found.samples.append(record_samples(keys, set=task.name, **told, content_hash=content))
    return found
