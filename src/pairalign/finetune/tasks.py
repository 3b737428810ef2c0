"""Questions and answers out of shards, as the parts of a chat message.

Note:
    A sample that cannot be read stops the run with its key. A field may hold several texts of one sample: see
    `pairalign.finetune.texts` for which of them is asked or taught.
"""

from __future__ import annotations

import bisect
import copy
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pairalign.core.errors import DataError
from pairalign.data.captions import draw_place, several_texts, text_at
from pairalign.data.held import held
from pairalign.data.index import load_index
from pairalign.data.kinds import main_value
from pairalign.data.picture import rgb_picture
from pairalign.data.place import find_place
from pairalign.data.reader import RawSample
from pairalign.data.shards import Arrange, count_samples, read_samples, stream_order
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.damaged import Damaged, sifted
from pairalign.finetune.example import Example, encode_once, one_text
from pairalign.finetune.labels import LABEL, label_of, stored_fields
from pairalign.finetune.recorded import conform_recorded
from pairalign.finetune.sources import TaskSource
from pairalign.finetune.task_check import TEXTS, check_fields, check_kinds, check_split, unreadable
from pairalign.finetune.texts import all_texts, unfit
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.prompt import FIELD, split_prompt
from pairalign.sensors.sensor import Sensor

ENCODED = 64


class Task:
    """A `TaskConfig` checked against its shards and the sensors that a model has."""

    def __init__(
        self, name: str, config: TaskConfig, root: str | Path, sensors: Sequence[str], answered: bool = True
    ) -> None:
        self.name, self.config, self.folder = name, config, find_place(config.folder, root)
        index = load_index(self.folder)
        self.pieces = split_prompt(config.prompt)
        self.asked, self.answered = stored_fields(config.prompt), stored_fields(config.answer)
        self.fields = tuple(dict.fromkeys([*self.asked, *self.answered]))
        check_fields(name, config, index, self.folder, sensors)
        self.kept: list[Example | None] | None = None
        self.damaged: Damaged | None = None
        self.reserved: Collection[str] = ()  # words that no text may spell, where a sample that does is left out
        self.told: TaskSource | None = None  # where the task is one of a list's
        self.conform: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {}  # by field, once the sensors are known
        self.sensor = {f: config.signals.get(f, f) for f in self.fields if f in config.signals or f in sensors}
        check_kinds(name, config, index, self.sensor, answered)
        check_split(name, config, index, self.folder)

    @property
    def shows_pictures(self) -> bool:
        """Whether a prompt holds a picture for the base."""
        stored = load_index(self.folder).modalities
        asked = [field for field in self.asked if field not in self.sensor]
        return any(not set(stored[field].ext) <= TEXTS for field in asked)

    def check_signals(self, sensors: Mapping[str, Sensor]) -> None:
        """Raise `SignalError` where a field is recorded in another unit or rate than its sensor's encoder declares."""
        stored = load_index(self.folder).modalities
        for field, sensor in self.sensor.items():
            where = f"task {self.name!r}, field {field!r} of {str(self.folder)!r}"
            told = self.told.sensor_of(sensor) if self.told is not None else None
            self.conform[field] = conform_recorded(sensors[sensor].encoder, stored[field], told, where)

    def __len__(self) -> int:
        count = count_samples(self.folder, self.config.split)
        return count if self.config.limit is None else min(count, self.config.limit)

    @property
    def starts(self) -> list[int]:
        """Where each shard's samples begin in stored order, and where the last one's end."""
        shards = load_index(self.folder).split(self.config.split).shards
        return [0, *itertools.accumulate(shard.count for shard in shards)]

    def read(self, first: int = 0, last: int | None = None) -> Iterator[Example]:
        """Examples `first` to `last` (left out; all if null) once, in stored order."""
        last = len(self) if last is None else min(last, len(self))
        found = self.kept[first:last] if self.kept is not None else self._examples(first, last)
        yield from (one_text(example) for example in found if example is not None)

    def at(self, places: Sequence[int]) -> Iterator[Example | None]:
        """Examples at rising places of the stored order, with all texts that they have; None for a damaged one."""
        if self.kept is not None:
            return (self.kept[place] for place in places)
        return self._readable(take=np.asarray(places, dtype=np.int64), limit=self.config.limit)

    def first(self, count: int) -> Task:
        """The same task with its first `count` samples alone."""
        found = copy.copy(self)
        found.config, found.kept = replace(self.config, limit=count), None
        return found

    def tolerate(self, fraction: float) -> None:
        """Leave damaged samples out and name them, up to this share of all; at 0 the first one raises."""
        self.damaged = Damaged(self.name, fraction, len(self)) if fraction > 0 else None

    def _examples(self, first: int, last: int) -> Iterator[Example | None]:
        read = self._readable(skip=first, limit=self.config.limit)
        return itertools.islice(read, max(0, last - first))

    def _readable(self, **order: Any) -> Iterator[Example | None]:
        """Examples in an order of `read_samples`; None in the place of each that is damaged, where some may be."""
        met: list[tuple[str, str]] = []
        on_bad = None if self.damaged is None else (lambda key, reason: met.append((key, reason)))
        for sample in read_samples(self.folder, self.config.split, self.fields, on_bad=on_bad, **order):
            yield from self._left_out(met)
            try:
                example = self._example(sample)
            except DataError as error:
                if self.damaged is None:
                    raise
                met.append((sample.key, str(error)))
                yield from self._left_out(met)
                continue
            yield example
        yield from self._left_out(met)

    def _left_out(self, met: list[tuple[str, str]]) -> Iterator[None]:
        while met:
            self.note(*met.pop(0))
            yield None

    def note(self, key: str, reason: str) -> None:
        """Name a damaged sample; raise `DataError` for one too many."""
        if self.damaged is not None:
            self.damaged(key, reason)

    def answers(self) -> Iterator[str]:
        """Every answer once; no signal is read."""
        fields = list(dict.fromkeys(self.answered))
        samples = read_samples(self.folder, self.config.split, fields)
        return (self.reference(sample) for sample in itertools.islice(samples, len(self)))

    def keep(self, processor: SensorProcessor, gib: float, *, progress: bool = False) -> None:
        """Read all examples into memory, signals as stage one sees them, if they take less than `gib` GiB.

        A signal of a frozen sensor has to be encoded once; one whose encoder trains is kept as it was recorded.
        """
        found: list[Example | None] = []
        chunk: list[Example | None] = []
        size = 0
        bar = tqdm(total=len(self), desc=f"encode {self.name}", unit="sample", disable=not progress)
        for example in self._examples(0, len(self)):
            chunk.append(example)
            if len(chunk) < ENCODED and len(found) + len(chunk) < len(self):
                continue
            found += (encoded := self.encoded(chunk, processor))
            size += held(encoded)
            bar.update(len(chunk))
            chunk = []
            if size / len(found) * len(self) > gib * 2**30:
                bar.close()
                return
        bar.close()
        self.kept = found + self.encoded(chunk, processor)

    def encoded(self, chunk: Sequence[Example | None], processor: SensorProcessor) -> list[Example | None]:
        """The same with `SensorFeatures` for signals, and None for what no sensor can read, where that may be."""
        given = [example for example in chunk if example is not None]
        if self.damaged is None:
            return [*encode_once(given, processor)]
        made = sifted(given, lambda part: encode_once(part, processor), lambda e, reason: self.note(e.key, reason))
        encoded = {example.key: example for example in made}
        return [None if example is None else encoded.get(example.key) for example in chunk]

    def shuffled(
        self,
        start: int,
        seed: int,
        stream: int = 0,
        streams: int = 1,
        block: int | Sequence[int] = 1,
        arrange: Arrange | None = None,
    ) -> Iterator[Example | None]:
        """Endless passes in an order of (seed, pass), one stream's part of them, from its example `start` on; None in
        the place of a damaged one.

        block: examples that a stream takes before it is the next one's turn; arrange: see `stream_order`.
        """
        index, split, epoch = load_index(self.folder), self.config.split, 0
        order: dict[str, Any] = {"shuffle": len(self), "seed": seed, "limit": self.config.limit, "block": block}
        order["arrange"] = arrange
        before = self.starts
        while True:
            places = stream_order(index, split, epoch=epoch, stream=stream, streams=streams, **order)
            count = len(places)
            if start < count and self.kept is not None:
                for shard, place in places[start:].tolist():
                    kept = self.kept[before[shard] + place]
                    yield None if kept is None else one_text(kept, draw_place(seed, epoch, kept.key))
            elif start < count:
                part: dict[str, Any] = {"rank": stream, "world_size": streams, "epoch": epoch, "skip": start}
                for example in self._readable(**order, **part):
                    yield None if example is None else one_text(example, draw_place(seed, epoch, example.key))
            start, epoch = max(0, start - count), epoch + 1

    def example(self, sample: RawSample) -> Example:
        """A sample as a question and its answer, the first of each."""
        return one_text(self._example(sample))

    def _example(self, sample: RawSample) -> Example:
        """All questions and answers of a sample: a part of text may hold several."""
        parts = [self._part(piece, sample) for piece in self.pieces]
        label, answers = sample.meta.get("label"), self.references(sample)
        kind = label if isinstance(label, str) else self.name
        if self.reserved:
            self._check_texts(parts, answers)
        return Example(sample.key, kind, parts, answers[0], tuple(answers))

    def _check_texts(self, parts: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> None:
        """Raise `DataError` for a text, of all that a sample has, that can be neither asked nor taught."""
        asked = [part["text"] for part in parts if part["type"] == "text"]
        questions = [text for one in asked for text in (one if isinstance(one, list) else [one])]
        for kind, texts in (("prompt", questions), ("answer", answers)):
            for text in texts:
                if (reason := unfit(text, self.reserved)) is not None:
                    raise DataError(f"its {kind} {text.strip()!r} {reason}")

    def shard(self, position: int) -> str:
        """The name of the shard that holds a sample, by its place in stored order."""
        shards = load_index(self.folder).split(self.config.split).shards
        return shards[bisect.bisect(self.starts, position) - 1].name

    def reference(self, sample: RawSample) -> str:
        """A sample's answer, the first if it has several."""
        return self.references(sample)[0]

    def references(self, sample: RawSample) -> list[str]:
        """All answers of a sample."""
        found = {name: self.texts(sample, name) for name in FIELD.findall(self.config.answer)}
        return [
            FIELD.sub(lambda match: text_at(found[match[1]], place), self.config.answer).strip()  # noqa: B023
            for place in range(max(map(len, found.values()), default=1))
        ]

    def texts(self, sample: RawSample, field: str) -> list[str]:
        """All texts that a sample's field holds; of "label" the label that was packed with it."""
        if field == LABEL:
            return [label_of(sample, f"task {self.name!r}")]
        return all_texts(sample.values[field], f"task {self.name!r}, sample {sample.key!r}: field {field!r}")

    def _part(self, piece: str, sample: RawSample) -> dict[str, Any]:
        match = FIELD.fullmatch(piece)
        if match is None:
            return {"type": "text", "text": piece}
        if match[1] == LABEL:
            return {"type": "text", "text": self.texts(sample, LABEL)[0]}
        field, value = match[1], sample.values[match[1]]
        if field in self.sensor:
            conform = self.conform.get(field)
            return {"type": self.sensor[field], self.sensor[field]: conform(value, sample.meta) if conform else value}
        if (texts := several_texts(value)) is not None:
            return {"type": "text", "text": texts}
        value = main_value(value)
        if isinstance(value, Image.Image):
            return {"type": "image", "image": rgb_picture(value)}
        if not isinstance(value, str):
            raise unreadable(self.name, field)
        return {"type": "text", "text": value}
