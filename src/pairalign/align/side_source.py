"""How one modality of a data set becomes tensors: its field, its encoder, what is kept, and what tells samples apart.

Note:
    Of a sample with several captions one is read, that at a `place`; a frozen encoder's values come from its anchor
    cache, and then the stored value is not looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pairalign.align.cache import AnchorCache
from pairalign.align.captions import caption_id
from pairalign.align.model import Side
from pairalign.core.encoder import Encoder
from pairalign.core.errors import SignalError, did_you_mean
from pairalign.data.captions import several_texts, text_at
from pairalign.data.held import held
from pairalign.data.kinds import with_meta
from pairalign.data.reader import RawSample

REMEMBERED = 100_000  # captions whose ids are kept


@dataclass
class SideSource:
    """How one modality is read: its field in the shards, its encoder, and its anchor cache if it is frozen.

    memory: bytes of preprocessed samples that are kept, so that each is preprocessed only once. recorded: what the
    index, or the configuration, says of the field, see `Encoder.conform`. Of a sample with several captions, one is
    read: that at a `place`.
    """

    field: str
    encoder: Encoder
    cache: AnchorCache | None = None
    memory: int = 0
    recorded: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kept: dict[str, Tensor] = dataclasses.field(default_factory=dict, repr=False)
    contents: dict[Any, int] = dataclasses.field(default_factory=dict, repr=False)

    def needs_value(self, key: str) -> bool:
        """Whether `read` looks at the stored value of this sample."""
        drawn = self.is_text or type(self.encoder).view is not Encoder.view  # its views come from the value itself
        return self.cache is None and (drawn or key not in self.kept)

    @cached_property
    def is_text(self) -> bool:
        """Whether it is captions."""
        return self.encoder.signal.kind == "text"

    def content(self, sample: RawSample, place: int = 0) -> int:
        """Id of what the encoder tells samples apart by; see `caption_id`."""
        own = sample.ids[self.field]
        if self.cache is not None:
            return self.cache.content(sample.key, place, own)
        if not self.is_text:
            return own
        caption = self._raw(sample, place)
        if not isinstance(caption, str):
            return own
        if caption not in self.contents:
            if len(self.contents) >= REMEMBERED:
                self.contents.clear()
            self.contents[caption] = caption_id(self.encoder, caption, own)
        return self.contents[caption]

    def read(self, sample: RawSample, generator: torch.Generator | None, place: int = 0) -> Tensor:
        """One sample's tensor; with a generator a random training view, without one the plain sample."""
        if self.cache is not None:
            return self.cache.view(sample.key, generator, place)
        where = f"sample {sample.key!r}, field {self.field!r}"
        if generator is not None and type(self.encoder).view is not Encoder.view:
            value = self.encoder.view(self._raw(sample, place), generator)
            self.encoder.compact_signal.check(value, where)
            return value
        if self.is_text:
            plain = self.encoder.preprocess(self._raw(sample, place))
            self.encoder.signal.check(plain, where)
        else:
            plain = self._preprocessed(sample, where)
        return plain if generator is None else self.encoder.augment(plain, generator)

    def _raw(self, sample: RawSample, place: int = 0) -> Any:
        value = sample.values[self.field]
        texts = several_texts(value) if self.is_text else None
        sensors = self.encoder.sensors
        recorded = with_meta(self.recorded, sample.meta, sensors)
        raw = self.encoder.conform(value if texts is None else text_at(texts, place), recorded)
        name = raw.get("sensor") if sensors and isinstance(raw, dict) else None
        if name and str(name).strip() not in (*sensors, "unknown"):
            hint = did_you_mean(str(name), sensors)
            raise SignalError(f"is of sensor {name!r}, and the encoder knows {', '.join(sensors)}.{hint}")
        return raw

    def _preprocessed(self, sample: RawSample, where: str) -> Tensor:
        plain = self.kept.get(sample.key)
        if plain is None:
            plain = self.encoder.compact(self._raw(sample))
            self.encoder.compact_signal.check(plain, where)
            size = held(plain) + held(sample.key)
            if size <= self.memory:
                self.memory -= size
                self.kept[sample.key] = plain
        return plain

    def collate(self, values: list[Tensor], ids: list[int]) -> Side:
        """Stack one side of a batch."""
        batch = torch.stack(values) if self.cache is not None else self.encoder.collate(values)
        return Side(batch, torch.tensor(ids, dtype=torch.int64), self.cache is not None)
