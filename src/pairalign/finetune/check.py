"""What must hold of a run's tasks, found from shard indexes, settings and texts, before anything long or large is done.

`check_tasks` needs no base, `check_signals` the sensors, `check_words` the base's tokenizer. A base that lacks an
answer's words would be taught "unknown" in their place, and measured right each time that it says so.

Note:
    Every text of every task is read and tokenized once, pictures and signals are not looked at.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from torch import nn

from pairalign.core.errors import ConfigError, PairalignError, SignalError
from pairalign.dormant.linears import decoder_prefix, find_linears
from pairalign.dormant.significance import load_scores
from pairalign.finetune.collator import check_enough
from pairalign.finetune.config import ForgettingConfig, RecomposeConfig
from pairalign.finetune.gate import Gate
from pairalign.finetune.said import said_texts
from pairalign.finetune.sampling import deal
from pairalign.finetune.sources import task_sources
from pairalign.finetune.tasks import Task
from pairalign.finetune.texts import unfit
from pairalign.sensors.reserved import reserved_words
from pairalign.sensors.sensor import Sensor
from pairalign.sensors.vision import check_still

PARTS = ("tasks", "validation", "held_out", "calibration")
TEXTS = 1024  # tokenized at once
SHOWN = 8  # words named
ENDS = ".,;:!?\"'()"

Tasks = Mapping[str, Sequence[Task]]


def check_tasks(config: RecomposeConfig) -> dict[str, list[Task]]:
    """Every task of the configuration by part; raise `ConfigError` or `DataError` for what cannot be trained on.

    Looked at: shards, fields, splits and limits of each; that training shows every sensor; places in a batch; enough
    calibration samples; that a score file can be read.
    """
    found = {part: named_tasks(config, part) for part in PARTS}
    _check_shown(config, found["tasks"])
    _check_taught(config, found["tasks"])
    _check_bounded(config, found)
    share, weights = config.train.rehearse.share, [task.config.weight for task in found["tasks"]]
    deal(weights, config.train.batch_size, config.train.accumulate, share)
    for task in found["calibration"]:
        check_enough(task, config.calibration_size)
    if config.scores is not None:
        load_scores(config.scores)
    return found


def named_tasks(config: RecomposeConfig, part: str) -> list[Task]:
    """The tasks of one part of the configuration, each checked against its shards."""
    sensors, tasks = list(config.sensors), []
    for name, one in getattr(config, part).items():
        try:
            for source in task_sources(name, one, config.root):
                task = Task(source.name, source.config, config.root, sensors, answered=part != "calibration")
                task.told = source
                tasks.append(task)
        except PairalignError as error:
            raise type(error)(f"{part}: {error}") from error
    return tasks


def _check_shown(config: RecomposeConfig, tasks: Sequence[Task]) -> None:
    """Raise `ConfigError` for a sensor that no training task's prompt shows: nothing would be learned of it."""
    if not config.train.steps:
        return
    shown = {sensor for task in tasks if task.config.weight > 0 for sensor in task.sensor.values()}
    unseen = [name for name, one in config.sensors.items() if one.trained and name not in shown]
    if unseen:
        prompts = "; ".join(f"{task.name}: {task.config.prompt!r}" for task in tasks)
        raise ConfigError(
            f"sensors.{unseen[0]}: no training task shows this sensor ({prompts}): put a field such as "
            f"{{{unseen[0]}}} into a prompt, leave the sensor out, or keep its bridge as it is with trained: false."
        )


def _check_taught(config: RecomposeConfig, tasks: Sequence[Task]) -> None:
    """Raise `ConfigError` for a training task that weights which act from a sensor on cannot learn."""
    if config.method != "dormant" or config.dormant.acts != "sensor" or not config.train.steps:
        return
    for task in tasks:
        if task.config.weight and not task.sensor:
            raise ConfigError(
                f"task {task.name!r}: prompt={task.config.prompt!r} holds no sensor, and weights that act from the "
                "sensor on learn nothing from it: leave it out, let train.rehearse hold what the base does, or set "
                "dormant.acts=always."
            )


def check_towers(config: RecomposeConfig, llm: nn.Module, tasks: Sequence[Task]) -> None:
    """Raise `ConfigError` for weights outside of the text decoder that no training task's picture reaches."""
    which = config.dormant
    if config.method != "dormant" or not config.train.steps or any(task.shows_pictures for task in tasks):
        return
    prefix = decoder_prefix(llm)
    named = find_linears(llm, which.target_modules, which.exclude_modules, which.layers_to_transform)
    outside = [name for name in named if prefix and not name.startswith(f"{prefix}.")]
    if outside:
        raise ConfigError(
            f"dormant.target_modules={which.target_modules!r}: {outside[0]} and {len(outside) - 1} more layers read "
            "pictures, and no training task shows one, so they would learn nothing: add such a task, or leave them out "
            "with dormant.exclude_modules."
        )


def check_pictures(config: RecomposeConfig, llm: nn.Module) -> None:
    """Raise `ConfigError` where what the base says of a picture is to be kept, and would change, or be of several."""
    which = config.dormant
    if not config.train.vision_memory:
        return
    layers: Collection[str] = ()
    if config.method in ("dormant", "lora"):  # others train in the decoder alone
        layers = find_linears(llm, which.target_modules, which.exclude_modules, which.layers_to_transform)
    llm.requires_grad_(False)
    check_still(llm, list(layers))


def _check_bounded(config: RecomposeConfig, tasks: Tasks) -> None:
    """Raise `ConfigError` for a bound on forgetting that no run of these settings could reach; a plain number, which
    earlier versions took there, is warned of."""
    gate, asked = Gate.of(config.max_forgetting), config.max_forgetting
    if not gate.bounds or not config.train.steps:
        return
    shown = any(task.sensor for part in ("validation", "tasks") for task in tasks[part])
    if isinstance(asked, ForgettingConfig) and asked.with_signal is not None and not shown:
        raise ConfigError(
            "max_forgetting.with_signal: no training or validation task shows a sensor, whose signals could be put in: "
            "leave it out."
        )
    looked = gate.with_signal is not None and config.train.measure_with_signals and shown
    still = config.method == "bridge" or (config.method == "dormant" and config.dormant.acts == "sensor")
    if still and not looked and not any(task.sensor for task in tasks["held_out"]):
        told = (
            "max_forgetting: bounds nothing here: what is trained acts from the sensor on, and prompts without one "
            "stay as they are. Bound what is lost with a signal in the prompt: give one number or "
            "max_forgetting.with_signal, and leave train.measure_with_signals on; or leave max_forgetting out."
        )
        if isinstance(asked, ForgettingConfig):
            raise ConfigError(told)
        warnings.warn(told, stacklevel=2)


def check_signals(tasks: Tasks, sensors: Mapping[str, Sensor]) -> None:
    """Raise `SignalError` where a field is recorded in another unit or rate than its sensor's encoder declares."""
    for part, named in tasks.items():
        for task in named:
            try:
                task.check_signals(sensors)
            except SignalError as error:
                raise SignalError(f"{part}: {error}") from error


class _Text(NamedTuple):
    """A text of a sample, and whether it is taught."""

    part: str
    task: str
    key: str
    text: str
    answer: bool

    @property
    def kind(self) -> str:
        """What it is called."""
        return "answer" if self.answer else "prompt"


def check_words(tasks: Tasks, tokenizer: Any, reserved: Collection[str] | None = None) -> None:
    """Raise `ConfigError` where an answer holds words that the base's tokenizer does not know, or is empty, and where a
    text spells a reserved word or cannot be written; warn where a prompt holds unknown words, which is asked all the
    same. Calibration is left out.

    reserved: see `reserved_words`, by default those of the tokenizer.
    """
    texts = list(_texts(tasks, reserved_words(tokenizer) if reserved is None else reserved))
    for answer in (True, False):
        told = _unknown((text for text in texts if text.answer is answer), tokenizer)
        if told and answer:
            raise ConfigError(f"{told}: use words that it knows, or another base.")
        if told:
            warnings.warn(f"{told}: it reads them as one unknown word.", stacklevel=2)


def _unknown(texts: Iterator[_Text], tokenizer: Any) -> str | None:
    """What a base does not know of some texts, and where that stands."""
    first: tuple[_Text, list[str]] | None = None
    others: dict[str, None] = {}
    while chunk := list(islice(texts, TEXTS)):
        tokens = tokenizer([text.text for text in chunk], add_special_tokens=False)["input_ids"]
        for text, own in zip(chunk, tokens, strict=True):
            words = _lost(tokenizer, text, own)
            first = first or ((text, words) if words else None)
            others |= dict.fromkeys(words)
    if first is None:
        return None
    text, words = first
    more = [word for word in others if word not in words]
    also = f", nor {', '.join(map(repr, more[:SHOWN]))} elsewhere" if more else ""
    also += f" and {len(more) - SHOWN} more" if len(more) > SHOWN else ""
    return (
        f"{text.part}: task {text.task!r}, sample {text.key!r}: the base does not know "
        f"{', '.join(map(repr, words[:SHOWN]))} of the {text.kind} {text.text.strip()!r}{also}"
    )


def _texts(tasks: Tasks, reserved: Collection[str]) -> Iterator[_Text]:
    """Every different text once, with the first sample that has it; raise `ConfigError` for one that can be neither
    asked nor taught, unless its sample may be left out."""
    seen: set[tuple[bool, str]] = set()
    for part in PARTS[:-1]:
        for task in tasks.get(part, ()):
            for sample, answer, text in said_texts(task):
                if (answer, text) in seen:
                    continue
                found = _Text(part, task.name, sample.key, text, answer)
                where = f"{part}: task {task.name!r}, sample {sample.key!r}"
                if answer and not text:
                    raise ConfigError(f"{where}: its answer is empty: give it words.")
                reason = unfit(text, reserved)
                if reason is None:
                    seen.add((answer, text))
                    yield found
                elif task.damaged is None or text in task.pieces:
                    shard = task.shard(sample.position)
                    raise ConfigError(f"{where}: the {found.kind} {text.strip()!r} {reason} It is in {shard}.")


def _lost(tokenizer: Any, text: _Text, tokens: Sequence[int]) -> list[str]:
    """The words of a text that its tokens do not say."""
    if _holds(tokenizer, text, text.text, tokens):
        return []
    words = [word.strip(ENDS) or word for word in text.text.split()]
    own = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    lost = [word for word, its in zip(words, own, strict=True) if not _holds(tokenizer, text, word, its)]
    return list(dict.fromkeys(lost)) or [text.text]


def _holds(tokenizer: Any, about: _Text, text: str, tokens: Sequence[int]) -> bool:
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens:
        return False
    return not about.answer or _plain(tokenizer.decode(tokens, skip_special_tokens=True)) == _plain(text)


def _plain(text: str) -> str:
    """What of a text a tokenizer that folds case and blanks keeps."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
