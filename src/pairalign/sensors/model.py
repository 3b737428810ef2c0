"""`SensorModel`: a pretrained multimodal language model that also reads sensors, without a fork of its code.

    model = SensorModel(llm)
    model.add("touch", sensor, placeholder=32000)
    model.generate(input_ids=ids, signals={"touch": gels}, pixel_values=pictures)

A prompt holds `sensor.length` placeholder tokens a signal. Before the model sees the ids, placeholders become a token
that the prompt has already, and the embedding layer's rows there become the bridge's vectors: no vocabulary grows, so
that a prompt without a sensor gives what the model gave before, bit for bit.

Note:
    Signals are taken in reading order over the whole batch, as Hugging Face does with images.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pairalign.core.earlier import earlier_keywords
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.core.names import SENSOR
from pairalign.dormant.following import Followed
from pairalign.dormant.frozen import keep_frozen_still
from pairalign.dormant.updates import kept_changes
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.sensor import Sensor, embedding_of
from pairalign.sensors.splice import Onward, Splice, recall, remember, spliced
from pairalign.sensors.turns import Turns

Signals = Mapping[str, SensorFeatures | Tensor | Sequence[Tensor]]
CACHES = ("past_key_values", "cache")  # before and since transformers 5.2x
PREFIX_LMS = ("paligemma", "colpali")
VISUAL = ("image", "video", "vision", "audio")


class SensorModel(nn.Module):
    """A Hugging Face image-text-to-text model, or a `DormantModel` around one, and sensors by name.

    Args:
        llm: that model.
    """

    def __init__(self, llm: nn.Module) -> None:
        super().__init__()
        check_multimodal(llm)
        check_causal(llm)
        self.llm = llm
        self.add_module("senses", nn.ModuleDict())  # as the state dicts of all versions call it
        self.placeholders: dict[str, int] = {}
        self.keeps_logits = "logits_to_keep" in inspect.signature(llm.forward).parameters
        self.turns = Turns()
        self.visual = _visual_tokens(getattr(llm, "config", None))

    @property
    def sensors(self) -> nn.ModuleDict:
        """Sensors by name; `senses` is its earlier name, which state dicts keep."""
        return cast(nn.ModuleDict, self._modules["senses"])

    @earlier_keywords(sense="sensor")
    def add(self, name: str, sensor: Sensor, placeholder: int) -> None:
        """Give the model a sensor.

        Args:
            name: of the sensor.
            sensor: encoder, head and bridge.
            placeholder: token id that stands for one of its vectors.
        """
        if fault := SENSOR.fault(name):
            raise ConfigError(f"sensor {name!r}: {fault}.")
        if name in self.sensors:
            raise ConfigError(f"sensor {name!r} is there already: remove it first.")
        if placeholder in self.placeholders.values() or placeholder in self.visual:
            raise ConfigError(f"placeholder={placeholder} of sensor {name!r} is taken: use an id of its own.")
        self.sensors[name] = sensor.to(next(self.llm.parameters()).device)
        self.placeholders[name] = placeholder

    def remove(self, name: str) -> None:
        """Take a sensor away.

        Args:
            name: of the sensor.
        """
        self._known(name)
        del self.sensors[name], self.placeholders[name]

    def train(self, mode: bool = True) -> SensorModel:
        """Only what trains is in training mode; Lightning and every wrapper come by here.

        Args:
            mode: whether that is.
        """
        super().train(mode)
        if mode:
            keep_frozen_still(self.llm)
        return self

    @property
    def config(self) -> Any:
        """The language model's."""
        return self.llm.config

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return next(self.llm.parameters()).device

    def forward(self, input_ids: Tensor, signals: Signals | None = None, **inputs: Any) -> Any:
        """The model's own outputs.

        Args:
            input_ids: with placeholders, as the processor makes them.
            signals: by sensor, as the processor reads them.
            **inputs: the model's own arguments.
        """
        return self.run(self.llm, input_ids, signals, **inputs)

    def run(self, llm: nn.Module, input_ids: Tensor, signals: Signals | None = None, **inputs: Any) -> Any:
        """Another language model's outputs, such as the untouched base's, for the same prompt.

        Args:
            llm: that model.
            input_ids: as of `forward`.
            signals: as of `forward`.
            **inputs: as of `forward`.
        """
        ids, splice = self.splice(input_ids, signals or {}, inputs)
        with spliced(embedding_of(llm), splice), self.turns.turn(llm):
            out = llm(input_ids=ids, **inputs)
        remember(cache_of(out), splice)
        return out

    @torch.no_grad()
    def generate(self, input_ids: Tensor, signals: Signals | None = None, **inputs: Any) -> Tensor:
        """The model's own `generate`; the prompt in what it returns keeps its placeholders.

        Args:
            input_ids: as of `forward`.
            signals: as of `forward`.
            **inputs: its own arguments.
        """
        if inputs.get("prefill_chunk_size"):
            raise ConfigError("prefill_chunk_size: a prompt with signals is read whole; leave it out.")
        ids, splice = self.splice(input_ids, signals or {}, inputs)
        with spliced(embedding_of(self.llm), splice), self.turns.turn(self.llm), kept_changes():
            out = self.llm.generate(input_ids=ids, **inputs)  # type: ignore[operator]
        remember(cache_of(out), splice)
        if torch.is_tensor(out) and out.shape[1] >= ids.shape[1]:
            out[:, : ids.shape[1]] = input_ids.repeat_interleave(len(out) // len(input_ids), 0).to(out)
        return out

    def splice(self, input_ids: Tensor, signals: Signals, inputs: Mapping[str, Any]) -> tuple[Tensor, Onward | None]:
        """The ids that the model may see, and the splice that it is to be called within.

        Args:
            input_ids: as of `forward`.
            signals: as of `forward`.
            inputs: the model's own arguments.
        """
        for name in signals:
            self._known(name)
        places = {name: input_ids == token for name, token in self.placeholders.items()}
        found = {}
        for name, where in places.items():
            sensor, count = self.sensors[name], int(where.sum())
            given = _count(signals[name]) if name in signals else 0
            if count != given * sensor.length:  # type: ignore[operator]
                raise DataError(
                    f"sensor {name!r}: the prompt has placeholders for {count / sensor.length:g} signals "  # type: ignore[operator]
                    f"({count} tokens of {sensor.length} each), and {given} were given."
                )
            if count:
                found[name] = sensor(signals[name]).flatten(0, 1)
        caches = {name: inputs[name] for name in CACHES if inputs.get(name) is not None}
        if not found:
            return input_ids, next(filter(None, map(recall, caches.values())), None)
        for name, cache in caches.items():
            if cache.get_seq_length():
                raise DataError(f"{name}: signals are read with a new prompt; start one, or leave signals out.")
        where = torch.stack([places[name] for name in found]).any(0)
        followed = Followed.at({name: places[name] for name in found})
        owner = torch.zeros_like(input_ids)
        for n, name in enumerate(found):
            owner.masked_fill_(places[name], n)
        first = next(iter(found.values()))
        vectors = first.new_empty(int(where.sum()), first.shape[-1])
        for n, name in enumerate(found):
            vectors = vectors.index_put((torch.nonzero(owner[where] == n).squeeze(1),), found[name].to(vectors))
        ids = self._stand_in(input_ids, where, inputs.get("attention_mask"))
        return ids, Splice(where, vectors, followed)

    def _stand_in(self, ids: Tensor, where: Tensor, attended: Tensor | None) -> Tensor:
        """Placeholders replaced by each prompt's first token that is no placeholder, no padding and no image."""
        usable = ~where if attended is None or attended.ndim != 2 else ~where & attended.bool()
        for token in self.visual:
            usable &= ids != token
        if not bool(usable.any(1).all()):
            raise DataError("a prompt needs at least one token of text beside its signals.")
        stand_in = ids.gather(1, usable.int().argmax(1, keepdim=True))
        return torch.where(where, stand_in, ids)

    def _known(self, name: str) -> None:
        if name not in self.sensors:
            raise ConfigError(f"sensor {name!r} is not installed.{did_you_mean(name, self.sensors)}")


def check_multimodal(model: nn.Module) -> None:
    """Raise `ConfigError` unless the model reads images and text and can be called with token ids."""
    config = getattr(model, "config", None)
    if config is None or not callable(getattr(model, "generate", None)):
        raise ConfigError(f"base {type(model).__name__} is no Hugging Face model that generates text.")
    if getattr(config, "vision_config", None) is None:
        raise ConfigError(
            f"base {type(model).__name__} is a text-only model: give an image-text-to-text model, whose decoder has "
            "learned to read more than text."
        )


def check_causal(model: nn.Module) -> None:
    """Raise `ConfigError` for a model whose prompts are read in both directions.

    There a token before a sensor depends on what is behind it, and an answer that is taught would be read with its
    prompt. Known ones are told by name, before anything is computed.
    """
    kind = getattr(getattr(model, "config", None), "model_type", "")
    if kind in PREFIX_LMS:
        raise ConfigError(
            f"base {type(model).__name__} ({kind}) reads a prompt in both directions, so that what stands before a "
            "sensor would not stay the base's, and answers would be read before they are said: give a causal model, "
            "such as LLaVA, Qwen-VL, InternVL, SmolVLM or Gemma 3."
        )


def cache_of(out: Any) -> Any:
    """The key and value cache of a model's outputs, if it gave one."""
    return next((out[name] for name in CACHES if isinstance(out, Mapping) and out.get(name) is not None), None)


def _count(signals: SensorFeatures | Tensor | Sequence[Tensor]) -> int:
    if isinstance(signals, SensorFeatures):
        return len(signals.shared)
    return signals.num_graphs if hasattr(signals, "num_graphs") else len(signals)


def _visual_tokens(config: Any) -> set[int]:
    found = set()
    for name, value in (vars(config) if config is not None else {}).items():
        if isinstance(value, int) and name.endswith(("_token_id", "_token_index")) and name.startswith(VISUAL):
            found.add(value)
    return found
