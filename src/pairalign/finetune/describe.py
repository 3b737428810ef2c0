"""Descriptions of a whole split by a model with sensors: greedy, batch by batch, resumable.

    task = Task("describe", TaskConfig("shards", "{touch} Describe this touch.", "{text}", "test"), ".", ["touch"])
    said = describe_split(model, processor, task, "out/answers.jsonl", identity="packs/touch 1f3a")

Note:
    An answer is kept under the model's identity, the prompt and the decoding, and only under all of them it is taken up
    again; prompts of a batch are padded together, so that another batch size can change an answer in the last bits of a
    logit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pairalign.core.arguments import check_arguments
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import DataError, SignalError
from pairalign.data.index import load_index
from pairalign.data.kinds import kind_of, main_value
from pairalign.data.reader import RawSample
from pairalign.data.shards import read_samples
from pairalign.evaluate.generation.lines import appended, read_lines
from pairalign.evaluate.generation.page import Shown
from pairalign.evaluate.generation.run import Description
from pairalign.finetune.collator import Collator
from pairalign.finetune.tasks import Example, Task
from pairalign.sensors.answer import answer_all
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

SHOWN = 12


@dataclass(frozen=True)
class Decoding:
    """Greedy always. tokens: longest answer. batch_size: samples at once. seed: set before each batch, for models that
    draw random numbers even when they do not sample.
    """

    tokens: Count = 64
    batch_size: Count = 8
    seed: Whole = 0

    def __post_init__(self) -> None:
        check_arguments(asdict(self), {"tokens": Count, "batch_size": Count, "seed": Whole})


@dataclass(frozen=True)
class Described:
    """descriptions in stored order; shown: some of them with their signals; bad: (key, reason) of damaged samples;
    resumed: answers that were there already.
    """

    descriptions: list[Description]
    shown: list[Shown]
    bad: list[tuple[str, str]]
    resumed: int


def describe_split(
    model: SensorModel,
    processor: SensorProcessor,
    task: Task,
    answers: str | Path,
    *,
    identity: str,
    decoding: Decoding | None = None,
    progress: bool = True,
) -> Described:
    """Ask `task.config.prompt` of every sample of its split (`limit` of them); `task.config.answer` is the reference.

    answers: JSON-lines file, written as answers come and read first. identity: of model and sensors.
    Raise `SignalError` with the keys of the batch where a signal is not what its encoder declares.
    """
    decoding = decoding or Decoding()
    plan = _plan(task, identity, decoding)
    held = {
        record["key"]: record["answer"]
        for record in read_lines(answers, ("plan", "key", "answer"))
        if record["plan"] == plan
    }
    bad: list[tuple[str, str]] = []
    found: list[tuple[RawSample, Example]] = []
    said: dict[str, str] = {}
    collate, step = Collator(processor), max(1, len(task) // SHOWN)
    with appended(answers) as add, tqdm(total=len(task), desc="describe", unit="sample", disable=not progress) as bar:
        for batch in _batches(task, decoding.batch_size, bad):
            new = [example for _, example in batch if example.key not in held]
            asked = [example for _, example in batch] if new else []  # whole: the padding is that of the batch
            for example, text in zip(asked, _answer(model, processor, collate, asked, decoding), strict=True):
                if example.key not in held:
                    add({"key": example.key, "answer": text, "reference": example.answer, "plan": plan})
                    said[example.key] = text
            for sample, example in batch:
                keep = len(found) % step == 0 and len(found) // step < SHOWN
                found.append((sample if keep else sample._replace(values={}), example._replace(parts=[])))
            bar.update(len(batch))
    if not found:
        raise DataError(f"{str(task.folder)!r}, split {task.config.split!r}: no sample can be read.")
    texts = held | said
    descriptions = [Description(e.key, texts[e.key], e.answer, s.meta) for s, e in found]
    shown = [_shown(task, s, e, texts[e.key]) for s, e in found if s.values]
    return Described(descriptions, shown, bad, sum(e.key not in said for _, e in found))


def references(task: Task, split: str) -> list[str]:
    """The references of another split, such as the one that was trained on; no signal is read."""
    fields = list(dict.fromkeys(task.answered))
    samples = read_samples(task.folder, split, fields, on_bad=lambda key, reason: None)
    return [task.reference(sample) for sample in samples]


def _batches(task: Task, size: int, bad: list[tuple[str, str]]) -> Iterator[list[tuple[RawSample, Example]]]:
    samples = read_samples(task.folder, task.config.split, task.fields, on_bad=lambda k, r: bad.append((k, r)))
    pairs = ((sample, task.example(sample)) for sample in islice(samples, len(task)))
    while batch := list(islice(pairs, size)):
        yield batch


@torch.no_grad()
def _answer(
    model: SensorModel, processor: SensorProcessor, collate: Collator, examples: list[Example], decoding: Decoding
) -> list[str]:
    if not examples:
        return []
    try:
        inputs: Mapping[str, Any] = collate.prompts(examples)
    except SignalError as error:
        raise SignalError(f"samples {', '.join(example.key for example in examples)}: {error}") from error
    torch.manual_seed(decoding.seed)
    return answer_all(model, processor, inputs, decoding.tokens)


def _plan(task: Task, identity: str, decoding: Decoding) -> str:
    """What an answer depends on, as a fingerprint."""
    told = [identity, load_index(task.folder).content_hash, task.config.prompt, task.config.signals, asdict(decoding)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _shown(task: Task, sample: RawSample, example: Example, said: str) -> Shown:
    modalities = load_index(task.folder).modalities
    signals = []
    for field in sorted(task.fields, key=lambda name: name not in task.sensor):  # sensors first
        value = main_value(sample.values[field])
        if field in task.sensor or not isinstance(value, str):
            signals.append((kind_of(value, modalities[field]), value))
    return Shown(example.key, signals, said, example.answer)
