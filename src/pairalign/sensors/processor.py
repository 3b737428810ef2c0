"""Prompts that hold sensors: placeholders through the tokenizer and the chat template, signals checked and collated.

    processor = SensorProcessor(AutoProcessor.from_pretrained(base), {"touch": model.sensors["touch"]})
    batch = processor(["user: <|touch|> is it soft?"], signals={"touch": [gel]}, return_tensors="pt")
    model.generate(**batch)

Note:
    Placeholders live in a copy of the tokenizer, past the base's vocabulary; the base's own tokenizer and embedding
    table stay as they are. A tokenizer without a padding token pads with its end token, or else with its first token:
    what is padded is always masked, so no embedding is added for it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.caption import unwritable
from pairalign.core.earlier import earlier_keywords
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.core.names import SENSOR
from pairalign.data.picture import rgb_picture
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.prompt import join_text
from pairalign.sensors.quantise import loading_in, settle_base
from pairalign.sensors.reserved import reserved_words, spelt_in
from pairalign.sensors.sensor import Sensor

Message = Mapping[str, Any]
RESERVED = (
    "which the base reads as a picture, a sensor or the end of a text: write it in other words; a picture or signal is "
    "put into a prompt by its field, as {image}."
)
PACKAGED = "pairalign:"  # before a base's path inside this package


@dataclass(frozen=True)
class Loading:
    """How a base is loaded, as `from_pretrained` takes it.

    device_map: "auto" or a device by module name, for a base that needs several devices; `None` for one.
    attn_implementation: "sdpa", "eager", "flash_attention_2", …; `None` for the model's own choice.
    revision: branch, tag or commit on the hub. trust_remote_code: run Python code that comes with the base.
    load_in: "int8" or "nf4" quantises its linear layers, see `quantise`; `None` leaves them as they are stored.
    """

    device_map: str | dict[str, Any] | None = None
    attn_implementation: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    load_in: str | None = None


CPU, PLAIN = torch.device("cpu"), Loading()


class SensorProcessor:
    """A Hugging Face processor, `base`, that also knows sensors. `placeholders`: token id by sensor name.

    Args:
        processor: that processor.
        sensors: by name.
    """

    @earlier_keywords(senses="sensors")
    def __init__(self, processor: Any, sensors: Mapping[str, Sensor]) -> None:
        self.base = processor
        self._begin()
        self.sensors: dict[str, Sensor] = {}
        self.placeholders: dict[str, int] = {}
        self._added: set[str] = set()
        self._reserved: frozenset[str] | None = None
        for name, sensor in sensors.items():
            self.add(name, sensor)

    def _begin(self) -> None:
        """A copy of the base's processor, that can pad."""
        self.processor = copy.deepcopy(self.base)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.convert_ids_to_tokens(0)

    @property
    def added(self) -> tuple[str, ...]:
        """The placeholders that the tokenizer was given, those of forgotten sensors too, in order."""
        return tuple(sorted(self._added, key=self.tokenizer.convert_tokens_to_ids))

    @property
    def senses(self) -> dict[str, Sensor]:
        """Deprecated name of `sensors`."""
        return self.sensors

    def take_back(self, words: Sequence[str], sensors: Collection[str]) -> None:
        """Be as before: the tokenizer with some of its `added` words alone, and some of its sensors.

        Args:
            words: that stay.
            sensors: names that stay.
        """
        for name in [name for name in self.sensors if name not in sensors]:
            self.remove(name)
        if self.added != tuple(words):
            self._begin()
            for word in words:  # one by one, as they came: each has the id that it had
                self.tokenizer.add_tokens([word], special_tokens=True)
            self._added, self._reserved = set(words), None

    @earlier_keywords(sense="sensor")
    def add(self, name: str, sensor: Sensor) -> int:
        """Give the tokenizer a placeholder for a sensor; return its id.

        Args:
            name: of the sensor.
            sensor: encoder, head and bridge.

        Raises:
            ConfigError: for what is no name.
        """
        if fault := SENSOR.fault(name):
            raise ConfigError(f"sensor {name!r} cannot be called so: {fault}.")
        token = placeholder(name)
        known = self.tokenizer.convert_tokens_to_ids(token)
        if token not in self._added and known is not None and known != self.tokenizer.unk_token_id:
            raise ConfigError(
                f"the tokenizer has {token!r} already: rename the sensor, or load the base's own tokenizer."
            )
        self.tokenizer.add_tokens([token], special_tokens=True)
        self._added.add(token)
        self._reserved = None
        self.sensors[name], self.placeholders[name] = sensor, self.tokenizer.convert_tokens_to_ids(token)
        return self.placeholders[name]

    def remove(self, name: str) -> None:
        """Forget a sensor; its placeholder is refused from then on.

        Args:
            name: of the sensor.
        """
        del self.sensors[name], self.placeholders[name]

    def check_text(self, text: str, where: str) -> None:
        """Raise `DataError` where a text spells a word that the base, or this processor, reads as something else.

        Args:
            text: to look at.
            where: what the error calls it.
        """
        if (word := spelt_in(text, self.reserved)) is not None:
            raise DataError(f"{where}: {text.strip()!r} spells {word!r}, {RESERVED}")
        if (reason := unwritable(text)) is not None:
            raise DataError(f"{where}: {text.strip()!r}: {reason}")

    @property
    def reserved(self) -> frozenset[str]:
        """Words that texts may not spell; see `reserved_words`."""
        if self._reserved is None:
            self._reserved = reserved_words(self.processor)
        return self._reserved

    def apply_chat_template(self, messages: Sequence[Message] | Sequence[Sequence[Message]], **options: Any) -> Any:
        """The processor's own, with parts such as `{"type": "touch"}` in a message's content; text by default.

        A part's signal may stand in it, `{"type": "touch", "touch": gel}`: see `signals_of`.

        Args:
            messages: a talk, or several.
            **options: the processor's own.
        """
        self.check_template()
        if options.pop("tokenize", False):
            raise ConfigError("tokenize=True: make the text first, then call the processor with text and signals.")
        many = bool(messages) and not isinstance(messages[0], Mapping)
        talks: Any = messages if many else [messages]
        plain = [[self._plain(message) for message in talk] for talk in talks]
        made = [self.processor.apply_chat_template(talk, tokenize=False, **options) for talk in plain]
        return made if many else made[0]

    def check_template(self) -> None:
        """Raise `ConfigError` for a base that has no chat template, so that no question can be put to it."""
        if not (getattr(self.processor, "chat_template", None) or self.tokenizer.chat_template):
            raise ConfigError(
                'the base\'s processor has no chat template: give a chat ("instruct") model, or write a '
                "chat_template.jinja beside its tokenizer."
            )

    def signals_of(self, messages: Sequence[Message]) -> dict[str, list[Any]]:
        """The raw signals that stand in messages, by sensor, in reading order.

        Args:
            messages: a talk.
        """
        found: dict[str, list[Any]] = {}
        for message in messages:
            for part in message["content"] if not isinstance(message["content"], str) else ():
                kind = part["type"]
                if kind in self.placeholders and kind in part:
                    found.setdefault(kind, []).append(part[kind])
        return found

    def _plain(self, message: Message) -> dict[str, Any]:
        if isinstance(message["content"], str):
            return dict(message)
        return {**message, "content": join_text(self._part(part) for part in message["content"])}

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        kind = part["type"]
        if kind in self.placeholders:
            return {"type": "text", "text": placeholder(kind)}
        if kind not in ("text", "image", "video", "audio"):
            known = ["text", "image", "video", "audio", *self.placeholders]
            raise ConfigError(f"message part of type {kind!r}.{did_you_mean(kind, known)}")
        return {"type": kind, "text": part["text"]} if kind == "text" else {"type": kind}

    def __call__(
        self, text: str | Sequence[str], *, signals: Mapping[str, Sequence[Any]] | None = None, **options: Any
    ) -> dict[str, Any]:
        """The processor's own batch, with `signals` (preprocessed, collated) where some are given.

        text: prompts with one placeholder a signal. signals: raw values by sensor, in reading order over all prompts.
        options: the processor's own, such as images and padding. Raise `DataError` where counts differ.
        """
        texts, signals = [text] if isinstance(text, str) else list(text), signals or {}
        for name in signals:
            if name not in self.sensors:
                raise ConfigError(f"sensor {name!r} is not installed.{did_you_mean(name, self.sensors)}")
        for name, sensor in self.sensors.items():
            token, given = placeholder(name), len(signals.get(name, ()))
            asked = sum(t.count(token) for t in texts)
            if asked != given:
                raise DataError(f"sensor {name!r}: the text has {asked} {token}, and {given} signals were given.")
            texts = [t.replace(token, token * sensor.length) for t in texts]
        if options.get("images") is not None:
            options["images"] = _shown(options["images"])
        batch = dict(self.processor(text=texts, **{"return_tensors": "pt", **options}))
        return batch | ({"signals": self.read(signals)} if any(map(len, signals.values())) else {})

    def read(self, signals: Mapping[str, Sequence[Any]]) -> dict[str, Tensor | SensorFeatures]:
        """Raw signals preprocessed by their encoders, checked against what they declare, and collated.

        Args:
            signals: by sensor; those that stage one has read already, `SensorFeatures` without a batch axis, are
                stacked.
        """
        found: dict[str, Tensor | SensorFeatures] = {}
        for name, values in signals.items():
            encoder, read = self.sensors[name].encoder, []
            if values and isinstance(values[0], SensorFeatures):
                found[name] = SensorFeatures(*(torch.stack(parts) for parts in zip(*values, strict=True)))
                continue
            for n, value in enumerate(values):
                read.append(encoder.preprocess(value))
                encoder.signal.check(read[-1], f"{name} signal {n}")
            if read:
                found[name] = encoder.collate(read)
        return found

    def decode(self, said: Tensor, prompt: Tensor) -> list[str]:
        """The answers of `generate`, without their prompts.

        Args:
            said: what it returned.
            prompt: what it was given.
        """
        text: list[str] = self.tokenizer.batch_decode(said[:, prompt.shape[1] :], skip_special_tokens=True)
        return [answer.strip() for answer in text]


def _shown(images: Any) -> Any:
    """PIL pictures as RGB and upright, in lists too; the rest as it is."""
    if isinstance(images, (list, tuple)):
        return [_shown(image) for image in images]
    return rgb_picture(images) if hasattr(images, "getbands") else images


def placeholder(name: str) -> str:
    """The text that stands for one signal of a sensor in a prompt."""
    return f"<|{name}|>"


def to_device(value: Any, device: torch.device) -> Any:
    """A model's inputs with every tensor on a device, those of signals too."""
    if isinstance(value, Mapping):
        return {name: to_device(part, device) for name, part in value.items()}
    if isinstance(value, SensorFeatures):
        return SensorFeatures(*(part.to(device) for part in value))
    return value.to(device) if hasattr(value, "to") else value


def load_base(
    name: str,
    dtype: str | torch.dtype = "auto",
    device: torch.device = CPU,
    loading: Loading = PLAIN,
) -> tuple[Any, Any]:
    """A base model on its device and its processor, by hub name or local folder, or one of this package,
    "pairalign:demo/base"; `ConfigError` if none can be used.

    Weights are read straight to the device in their dtype; where accelerate is not installed, by way of the CPU.
    """
    from importlib.resources import files

    from transformers import AutoModelForImageTextToText, AutoProcessor

    from pairalign.sensors.model import check_multimodal

    if name.startswith(PACKAGED):
        name = str(files("pairalign").joinpath(name.removeprefix(PACKAGED)))
    _check_dtype(dtype)
    both: dict[str, Any] = {"trust_remote_code": loading.trust_remote_code}
    both |= {"revision": loading.revision} if loading.revision else {}
    own: dict[str, Any] = {"attn_implementation": loading.attn_implementation} if loading.attn_implementation else {}
    own |= loading_in(loading.load_in)
    try:
        place = _device_map(device, loading.device_map)
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **place, **own, **both)
        processor = AutoProcessor.from_pretrained(name, **both)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"base={name!r} cannot be loaded as an image-text-to-text model: {_first_line(error)}"
        ) from error
    check_multimodal(model)
    settle_base(model, name, loading.load_in)
    _complete(processor, model)
    placed: Any = model if loading.device_map else nn.Module.to(model, device)
    return placed.eval(), processor


def _complete(processor: Any, model: Any) -> None:
    """Give a tokenizer without an end token that of the model, if the model names one."""
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.eos_token_id is not None:
        return
    for config in (getattr(model, "generation_config", None), model.config.get_text_config()):
        end = getattr(config, "eos_token_id", None)
        end = end[0] if isinstance(end, (list, tuple)) and end else end
        if isinstance(end, int) and 0 <= end < len(tokenizer):
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
            return


def _check_dtype(dtype: str | torch.dtype) -> None:
    known = ("auto", "float32", "bfloat16", "float16")
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigError(f"dtype={dtype!r}: give 'auto' or a torch dtype.{did_you_mean(dtype, known)}")


def _device_map(device: torch.device, asked: str | dict[str, Any] | None) -> dict[str, Any]:
    """The argument of `from_pretrained` that puts weights where they belong; none if they are to be moved after."""
    from importlib.util import find_spec

    if find_spec("accelerate") is None:
        if asked is not None:
            raise ConfigError(f"device_map={asked!r} needs accelerate: pip install accelerate.")
        return {}
    if asked is not None:
        return {"device_map": asked}
    return {} if device.type == "cpu" else {"device_map": {"": device}}


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "trust_remote_code" in str(error):
        return f"{line} Its code runs only where trust_remote_code is set (--trust-remote-code)."
    return line
