"""Rehearsal: prompts of other things with a signal of the run's training put in, held to what the base says of them.

Weights that act from their sensor on leave every prompt without it alone. One that holds a signal by the way, and asks
something else, is answered by them all the same, and they were taught to speak of the signal. On a share of every
step's places the model reads such prompts, and its distance from the base, the same model with its updates off, is
added to the loss: mean over answer tokens of KL(base ‖ model), in nats. No labels, and no second model.
Source: our own step; its relatives are learning without forgetting (arXiv:1606.09282), which asks about the new task's
own inputs, and rehearsal of what a model says itself (arXiv:2403.01244).

Note:
    Prompts and a part of the signals are in memory. Which prompt meets which signal, and on which side of the pictures,
    is a function of the seed and the place in the run alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.dormant.significance.dowser import written_prompts
from pairalign.finetune.collator import IGNORED, Collator, Rehearsed
from pairalign.finetune.config import RecomposeConfig, RehearseConfig
from pairalign.finetune.distil import divergence
from pairalign.finetune.irrelevant import POSITIONS, gather_signals, with_signal
from pairalign.finetune.methods import Method
from pairalign.finetune.tasks import Example, Task, encode_once
from pairalign.sensors.answer import answer_all
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.prompt import message_parts
from pairalign.sensors.reserved import spelt_in

SIGNALS = 512  # of each sensor, at most
WRITTEN = 32  # tokens of a text that the base writes by itself


@dataclass(frozen=True)
class Rehearsal:
    """prompts: with the answers along which model and base are compared. signals: by sensor. plain: whether the base is
    asked without the signal. share: of every step's places."""

    prompts: Sequence[Example]
    signals: Mapping[str, Sequence[SensorFeatures]]
    share: float
    plain: bool
    seed: int

    def at(self, place: int) -> tuple[Example, Example]:
        """What a place of the run shows, and what the base is asked there."""
        turn, n = divmod(place, len(self.prompts))
        order = list(range(len(self.prompts)))
        random.Random(f"prompts {self.seed} {turn}").shuffle(order)
        draw, prompt = random.Random(f"signals {self.seed} {place}"), self.prompts[order[n]]
        sensor = draw.choice(sorted(self.signals))
        parts = with_signal(prompt.parts, sensor, draw.choice(self.signals[sensor]), draw.choice(POSITIONS))
        shown = prompt._replace(parts=parts)
        return shown, prompt if self.plain else shown

    def batch(self, places: Iterable[int], collate: Collator) -> Rehearsed:
        """What some places of the run show and ask."""
        both = [self.at(place) for place in places]
        shown = collate([shown for shown, _ in both], ended=True)
        return Rehearsed(shown, collate([asked for _, asked in both], ended=True) if self.plain else shown)


def drift(base: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """KL(base ‖ model) of logits (B, K, V), mean over the places that labels (B, K) answer, in nats."""
    return divergence(base[labels != IGNORED], logits, labels)


@torch.no_grad()
def build_rehearsal(
    config: RecomposeConfig,
    model: SensorModel,
    method: Method,
    collate: Collator,
    tasks: Sequence[Task],
    calibration: Sequence[Task],
) -> Rehearsal | None:
    """What a run rehearses, before its first step; `None` where it does not."""
    wanted, size = config.train.rehearse, config.train.measure_batch_size
    if not wanted.share:
        return None
    with method.as_base(model.llm):
        if wanted.prompts == "written":
            prompts = list(_written(config, model, collate.processor))
        else:
            read = (list(task.read(0, config.calibration_size)) for task in calibration)
            prompts = [example for examples in read for example in encode_once(examples, collate.processor)]
        prompts = list(_answered(prompts, model, collate, wanted.tokens, size))
    taught = {"tasks": [task for task in tasks if task.config.weight]}
    signals = gather_signals(taught, collate.processor, config.seed, SIGNALS).by_sensor
    if not signals:
        raise DataError("train.rehearse: every signal of the training tasks is damaged: repair them.")
    return Rehearsal(prompts, signals, wanted.share, wanted.reference == "plain", config.seed)


def _answered(
    prompts: Sequence[Example], model: SensorModel, collate: Collator, tokens: int, size: int
) -> Iterator[Example]:
    """Prompts with the base's own answers where they have none."""
    mute = [example for example in prompts if not example.answer]
    said: list[str] = []
    for start in range(0, len(mute), size):
        asked = collate.prompts(mute[start : start + size])
        said += answer_all(model, collate.processor, asked, tokens)
    own = iter(said)
    for example in prompts:
        yield example if example.answer else example._replace(answer=next(own))


def _written(config: RecomposeConfig, model: SensorModel, processor: SensorProcessor) -> Iterator[Example]:
    """What the base writes by itself, as questions; what spells one of its own words is left out."""
    count, size = config.calibration_size, config.train.measure_batch_size
    for n, batch in enumerate(written_prompts(model.llm, count, WRITTEN, size, config.seed)):
        for m, text in enumerate(processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)):
            parts = message_parts([{"type": "text", "text": text}])
            if parts and spelt_in(text, processor.reserved) is None:
                yield Example(f"written-{n}-{m}", "written", parts, "")


def check_rehearse(config: RecomposeConfig, method: Method) -> None:
    """Raise `ConfigError` for a run that could not rehearse, before anything is loaded."""
    wanted: RehearseConfig = config.train.rehearse
    if not wanted.share:
        return
    if not method.keeps_base:
        raise ConfigError(
            f"train.rehearse: method {config.method!r} has no base beside it to be held to: give 'dormant', 'lora' or "
            "'lwf', or train.rehearse.share=0."
        )
    if wanted.prompts == "calibration" and not config.calibration:
        raise ConfigError(
            "train.rehearse: needs calibration tasks, whose prompts it shows: name some, or set "
            "train.rehearse.prompts='written'."
        )
