"""What the page does, without the page: answers as they are written, the same with another signal, and what is near.

    session = Session(model, processor, examples={"touch": [...]}, space=load_aligned("runs/space"))
    for text in session.stream("is it soft?", {"touch": gel}): print(text)
    session.compare("is it soft?", {"touch": gel})        # as given, blank, another's, none

Note: a model that answers the same with a blank signal has not used the one it was given. A blank is what the encoder
gets as zeros, which a cloud of points cannot be; another's is that of the example that is least like it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.align.run import AlignRun
from pairalign.core.errors import DataError, PairalignError
from pairalign.sensors.answer import Said, ask_model, question_inputs, said_by
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor


@dataclass(frozen=True)
class Example:
    """A signal to try: what it is called, as the encoder takes it raw, and what stage one makes of it (no batch)."""

    name: str
    value: Any
    sensed: SensorFeatures


class Compared(NamedTuple):
    """An answer, and which signal it was given with."""

    signal: str
    answer: str
    same: bool | None = None
    """Whether it is that to the signal as given; `None` of that itself."""


class Near(NamedTuple):
    """An example and the cosine of its shared latent with the signal's, in [-1, 1]."""

    cosine: float
    example: Example


@dataclass
class Session:
    """A model with packs installed, examples by sensor, and the aligned run, if there is one, for words.

    Attributes:
        model: with its packs installed, in evaluation mode.
        processor: the model's.
        examples: signals to pick, by sensor.
        space: the run of stage one; without it nothing says what words are near.
        tokens: longest answer.
    """

    model: SensorModel
    processor: SensorProcessor
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    space: AlignRun | None = None
    tokens: int = 64

    def stream(self, question: str, signals: Mapping[str, Any], image: Any = None) -> Iterator[str]:
        """The answer so far, again and again until it is whole; an answer without a word says why.

        Args:
            question: as `ask_model` takes it.
            signals: one raw value by sensor; may be empty.
            image: a PIL picture, if there is one.

        Raises:
            PairalignError: the question or a signal is none; before anything is generated.
        """
        from transformers import TextIteratorStreamer

        inputs = question_inputs(self.model, self.processor, question, **_given(signals, image))
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        found: list[Said | BaseException] = []

        def work() -> None:
            try:
                found.append(said_by(self.model, self.processor, inputs, tokens=self.tokens, streamer=streamer))
            except BaseException as error:  # told by the one who waits
                found.append(error)
                streamer.on_finalized_text("", stream_end=True)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        text = ""
        for piece in streamer:
            text += piece
            yield text.strip()
        thread.join()
        if isinstance(found[0], BaseException):
            raise found[0]
        yield found[0].text or found[0].silence

    def compare(self, question: str, signals: Mapping[str, Any], image: Any = None) -> list[Compared]:
        """The answer to the signals as given, and with each sensor's blank, another's, and without any.

        Args:
            question: as `ask_model` takes it.
            signals: one raw value by sensor, at least one.
            image: a PIL picture, if there is one.

        Raises:
            DataError: there is no signal to leave out.
        """
        if not signals:
            raise DataError("there is no signal to change: drop or pick one first.")
        first = self._ask(question, signals, image)
        found = [Compared("as given", first)]
        for sensor, value in signals.items():
            sensed = self.features(sensor, value)
            changed = {"blank": self._blank(sensor, value), "another's": self._least_like(sensor, sensed)}
            for what, other in changed.items():
                if other is not None:
                    said = self._ask(question, {**signals, sensor: other}, image)
                    found.append(Compared(f"{sensor}: {what}", said, said == first))
        if not any("{" + sensor + "}" in question for sensor in signals):
            said = self._ask(question, {}, image)
            found.append(Compared("no signal", said, said == first))
        return found

    def nearest(self, sensor: str, value: Any, count: int = 6) -> list[Near]:
        """The examples of the same sensor that are most alike in what stage one shares, nearest first.

        Args:
            sensor: its name.
            value: a raw signal.
            count: most of them.
        """
        known = self.examples.get(sensor, ())
        if not known:
            return []
        cosines = _cosines(self.features(sensor, value), known)
        order = cosines.argsort(descending=True)[:count].tolist()
        return [Near(float(cosines[n]), known[n]) for n in order]

    def words(self, sensor: str, value: Any, words: Sequence[str]) -> dict[str, float]:
        """Probability of each word, of these alone, see `AlignRun.classify`.

        Args:
            sensor: a modality of the run.
            value: a raw signal.
            words: two or more.

        Raises:
            DataError: no run was given, or the words are none.
        """
        if self.space is None:
            raise DataError("words need the run of stage one: start the page with --run RUN.")
        found = self.space.classify(sensor, value, list(words))
        assert isinstance(found, dict)
        return found

    @torch.no_grad()
    def features(self, sensor: str, value: Any) -> SensorFeatures:
        """What stage one makes of one raw signal, without a batch axis.

        Args:
            sensor: its name.
            value: a raw signal.
        """
        return perceive(self.model, self.processor, sensor, [value])[0]

    def _ask(self, question: str, signals: Mapping[str, Any], image: Any) -> str:
        said = ask_model(self.model, self.processor, question, tokens=self.tokens, **_given(signals, image))
        return said.text or said.silence

    @torch.no_grad()
    def _blank(self, sensor: str, value: Any) -> SensorFeatures | None:
        """Zeros as the encoder would get them, `None` where these are no signal."""
        module = self.model.sensors[sensor]
        read = module.encoder.preprocess(value)  # type: ignore[union-attr,operator]
        if not isinstance(read, Tensor) or module.encoder.signal.kind == "points":  # type: ignore[union-attr]
            return None
        try:
            module.encoder.signal.check(torch.zeros_like(read), "a blank")  # type: ignore[union-attr,operator]
        except PairalignError:
            return None
        return _apart(module.perceive([torch.zeros_like(read)]))[0]  # type: ignore[operator]

    def _least_like(self, sensor: str, sensed: SensorFeatures) -> SensorFeatures | None:
        known = self.examples.get(sensor, ())
        return known[int(_cosines(sensed, known).argmin())].sensed if known else None


@torch.no_grad()
def perceive(
    model: SensorModel, processor: SensorProcessor, sensor: str, values: Sequence[Any]
) -> list[SensorFeatures]:
    """What stage one makes of raw signals, each without a batch axis; raise `SignalError` for what is none."""
    read = processor.read({sensor: values})[sensor]
    found = read if isinstance(read, SensorFeatures) else model.sensors[sensor].perceive(read)  # type: ignore[operator]
    return _apart(found)


def _apart(sensed: SensorFeatures) -> list[SensorFeatures]:
    return [SensorFeatures(*(part[n] for part in sensed)) for n in range(len(sensed.shared))]


def _cosines(sensed: SensorFeatures, known: Sequence[Example]) -> Tensor:
    shared = torch.stack([example.sensed.shared for example in known])
    return F.cosine_similarity(shared.float(), sensed.shared.float()[None], dim=1).cpu()


def _given(signals: Mapping[str, Any], image: Any) -> dict[str, Any]:
    return {
        "signals": {sensor: [value] for sensor, value in signals.items()},
        "images": [] if image is None else [image],
    }
