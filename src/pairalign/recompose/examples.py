"""Questions and answers out of shards: read, written as the model's chat wants them, padded into batches.

Where it bites: batches are padded on the left, so that all answers end in the last column and logits of the rest need
not be computed; a sample that cannot be read stops the run with its key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pairalign.data.index import load_index
from pairalign.data.kinds import main_value
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, read_samples, stream_order
from pairalign.errors import ConfigError, DataError, did_you_mean
from pairalign.recompose.bridge import Sensed
from pairalign.recompose.origin import Calibration, record_samples
from pairalign.recompose.prompt import SensorProcessor
from pairalign.recompose.settings import TaskConfig

FIELD = re.compile(r"\{(\w+)\}")
IGNORED, ENCODED = -100, 64


class Example(NamedTuple):
    """One question as a chat message's `parts`, signals and pictures in them, and its answer."""

    key: str
    kind: str
    parts: list[dict[str, Any]]
    answer: str


@dataclass(frozen=True)
class Batch:
    """`inputs` of the model, `labels` (B, T) with −100 outside of answers, and which examples these are."""

    inputs: dict[str, Any]
    labels: Tensor
    keys: tuple[str, ...]
    kinds: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """Every tensor on a device."""
        return Batch(_to(self.inputs, device), self.labels.to(device), self.keys, self.kinds)


class Task:
    """A `TaskConfig` checked against its shards and the sensors that a model has."""

    def __init__(
        self, name: str, config: TaskConfig, root: str | Path, sensors: Sequence[str], answered: bool = True
    ) -> None:
        self.name, self.config, self.folder = name, config, Path(root) / config.shards
        index = load_index(self.folder)
        self.pieces = [piece for piece in re.split(r"(\{\w+\})", config.prompt) if piece.strip()]
        asked = [*FIELD.findall(config.prompt), *FIELD.findall(config.answer)]
        for name_ in (*asked, *config.signals):
            if name_ not in index.modalities:
                hint = did_you_mean(name_, index.modalities)
                raise ConfigError(f"task {name!r}: {str(self.folder)!r} holds no field {name_!r}.{hint}")
        for field, sensor in config.signals.items():
            if sensor not in sensors:
                raise ConfigError(
                    f"task {name!r}: field {field!r} is of sensor {sensor!r}.{did_you_mean(sensor, sensors)}"
                )
        self.fields = tuple(dict.fromkeys(asked))
        self.kept: list[Example] | None = None
        self.sensor = {f: config.signals.get(f, f) for f in self.fields if f in config.signals or f in sensors}
        if answered and not config.answer.strip():
            raise ConfigError(f"task {name!r}: answer is empty: give a text or a field such as '{{answer}}'.")
        index.split(config.split, self.folder)

    def __len__(self) -> int:
        count = count_samples(self.folder, self.config.split)
        return count if self.config.limit is None else min(count, self.config.limit)

    def read(self) -> Iterator[Example]:
        """Every example once, in stored order."""
        if self.kept is not None:
            yield from self.kept[: len(self)]
            return
        for place, sample in enumerate(read_samples(self.folder, self.config.split, self.fields)):
            if place >= len(self):
                return
            yield self.example(sample)

    def keep(self, processor: SensorProcessor, gib: float, *, progress: bool = False) -> None:
        """Read all examples into memory, signals as stage one sees them, if they take less than `gib` GiB.

        Senses are frozen, so that a signal has to be encoded once.
        """
        found: list[Example] = []
        chunk: list[Example] = []
        bar = tqdm(total=len(self), desc=f"encode {self.name}", unit="sample", disable=not progress)
        for example in self.read():
            chunk.append(example)
            if len(chunk) < ENCODED and len(found) + len(chunk) < len(self):
                continue
            found += encode_once(chunk, processor)
            bar.update(len(chunk))
            chunk = []
            if size_of(found) / len(found) * len(self) > gib * 2**30:
                bar.close()
                return
        bar.close()
        self.kept = found + encode_once(chunk, processor)

    def shuffled(self, start: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Example]:
        """Endless passes in an order of (seed, pass), this process's part of them, from its example `start` on."""
        index, split, epoch = load_index(self.folder), self.config.split, 0
        order: dict[str, Any] = {"shuffle": index.split(split, self.folder).count, "seed": seed}
        before = [0, *itertools.accumulate(shard.count for shard in index.split(split).shards)]
        while True:
            places = stream_order(index, split, epoch=epoch, stream=rank, streams=world, **order)
            count = len(places)
            if not count:
                raise DataError(f"task {self.name!r}: {str(self.folder)!r} has too few samples for {world} processes.")
            if start < count and self.kept is not None:
                for shard, place in places[start:].tolist():
                    yield self.kept[before[shard] + place]
            elif start < count:
                part: dict[str, Any] = {"rank": rank, "world_size": world, "epoch": epoch, "skip": start}
                for sample in read_samples(self.folder, split, self.fields, **order, **part):
                    yield self.example(sample)
            start, epoch = max(0, start - count), epoch + 1

    def example(self, sample: RawSample) -> Example:
        """A sample as a question and its answer."""
        parts = [self._part(piece, sample) for piece in self.pieces]
        label = sample.meta.get("label")
        return Example(sample.key, label if isinstance(label, str) else self.name, parts, self.reference(sample))

    def reference(self, sample: RawSample) -> str:
        """A sample's answer."""
        return FIELD.sub(lambda match: str(sample.values[match[1]]), self.config.answer).strip()

    def _part(self, piece: str, sample: RawSample) -> dict[str, Any]:
        match = FIELD.fullmatch(piece)
        if match is None:
            return {"type": "text", "text": piece.strip()}
        field, value = match[1], sample.values[match[1]]
        if field in self.sensor:
            return {"type": self.sensor[field], self.sensor[field]: value}
        value = main_value(value)
        if isinstance(value, Image.Image):
            return {"type": "image", "image": value.convert("RGB")}
        if not isinstance(value, str):
            raise ConfigError(
                f"task {self.name!r}: field {field!r} is neither picture nor text: name its sensor in signals, as in "
                f"signals={{{field}: …}}."
            )
        return {"type": "text", "text": value}


def encode_once(examples: Sequence[Example], processor: SensorProcessor) -> list[Example]:
    """The same examples with `Sensed` in the place of signals."""
    places: dict[str, list[tuple[int, int]]] = {}
    for n, example in enumerate(examples):
        for m, part in enumerate(example.parts):
            if part["type"] in processor.senses and not isinstance(part[part["type"]], Sensed):
                places.setdefault(part["type"], []).append((n, m))
    parts = [list(example.parts) for example in examples]
    for sensor, of in places.items():
        sense = processor.senses[sensor]
        values = processor.read({sensor: [examples[n].parts[m][sensor] for n, m in of]})[sensor]
        sensed = Sensed(*(part.cpu() for part in sense.perceive(values)))  # type: ignore[arg-type]
        for k, (n, m) in enumerate(of):
            parts[n][m] = {"type": sensor, sensor: Sensed(*(part[k].clone() for part in sensed))}
    return [example._replace(parts=own) for example, own in zip(examples, parts, strict=True)]


def size_of(examples: Sequence[Example]) -> int:
    """Bytes of signals and pictures, about."""
    total = 0
    for example in examples:
        for part in example.parts:
            value = part.get(part["type"])
            if isinstance(value, Sensed):
                total += sum(t.numel() * t.element_size() for t in value)
            elif isinstance(value, Image.Image):
                total += 3 * value.width * value.height
    return total


class Collator:
    """Examples → `Batch`, as the base's own chat template writes them."""

    def __init__(self, processor: SensorProcessor) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        if not (getattr(processor.processor, "chat_template", None) or self.tokenizer.chat_template):
            raise ConfigError("the base's processor has no chat template: set processor.chat_template.")

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Prompts with their answers."""
        prompts = self.prompts(examples)
        end = self.tokenizer.eos_token_id
        answers = [
            [*self.tokenizer(e.answer, add_special_tokens=False)["input_ids"], end] if e.answer else []
            for e in examples
        ]
        return self._join(prompts, answers, examples)

    def prompts(self, examples: Sequence[Example]) -> dict[str, Any]:
        """What the processor makes of the questions alone, padded on the left."""
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


def calibration_batches(task: Task, collate: Collator, count: int, size: int = 8) -> Calibration:
    """The model's inputs for `count` examples, answers and labels included, with the keys of these; raise `DataError`
    if the task has fewer."""
    if len(task) < count:
        raise DataError(
            f"calibration.{task.name}: {str(task.folder)!r} has {len(task)} samples, calibration_size={count} asks for "
            "more: give more samples or lower it."
        )
    found, keys = Calibration(), list[str]()
    for batch in batches(task, collate, size, count):
        answered = bool((batch.labels != IGNORED).any())
        found.append({**batch.inputs, **({"labels": batch.labels} if answered else {})})
        keys += batch.keys
    told = {name: getattr(task.config, name) for name in ("shards", "split", "prompt", "answer")}
    content = load_index(task.folder).content_hash
    found.samples.append(record_samples(keys, set=task.name, **told, content_hash=content))
    return found


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {name: _to(part, device) for name, part in value.items()}
    if isinstance(value, Sensed):
        return Sensed(*(part.to(device) for part in value))
    return value.to(device) if torch.is_tensor(value) else value
