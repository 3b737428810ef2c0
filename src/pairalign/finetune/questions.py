"""The questions of a task that is measured: read anew at every pass, in batches, each process its share.

Note:
    A share is a run of the stored order, cut so that shares differ by one example at most. Every process makes equally
    many passes, because a model whose weights are spread over processes needs all of them in each: one that has run out
    asks again, and does not count it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from math import ceil
from typing import Any, NamedTuple

from pairalign.core.errors import DataError
from pairalign.data.held import held
from pairalign.data.index import load_index
from pairalign.finetune.collator import Collator
from pairalign.finetune.tasks import Example, Task, encode_once
from pairalign.sensors.prompt import FIELD

LOOKED = 16  # questions among which one is shown


class Asked(NamedTuple):
    """Examples of one pass, the place of the first in stored order, and whether they count."""

    first: int
    examples: list[Example]
    counts: bool


class Questions:
    """A task's examples in batches of `size`.

    memory: GiB of them, as stage one encoded them, that this process keeps after the first pass; 0 for none.
    """

    def __init__(self, task: Task, collate: Collator, size: int = 32, memory: float = 0.0) -> None:
        if not len(task):
            raise DataError(f"task {task.name!r}: {str(task.folder)!r}, split {task.config.split!r}, has no samples.")
        self.task, self.collate, self.size, self.memory = task, collate, size, memory
        self._kept: tuple[range, list[Example]] | None = None

    def share(self, rank: int = 0, world: int = 1) -> range:
        """The places in stored order that a process reads."""
        count = len(self.task)
        return range(count * rank // world, count * (rank + 1) // world)

    def ask(self, rank: int = 0, world: int = 1) -> Iterator[Asked]:
        """A process's share, as often as the process with the largest share has to."""
        share, passes = self.share(rank, world), ceil(ceil(len(self.task) / world) / self.size)
        examples, done = self._read(share), 0
        while chunk := list(islice(examples, self.size)):
            yield Asked(share.start + done * self.size, chunk, True)
            done += 1
        for _ in range(done, passes):
            yield Asked(0, list(self.task.read(0, 1)), False)

    def _read(self, share: range) -> Iterator[Example]:
        """Examples of a share, encoded, and kept for the next pass if they are small enough."""
        if self._kept is not None and self._kept[0] == share:
            yield from self._kept[1]
            return
        kept: list[Example] = []
        left, keeps = self.memory * 2**30, self.memory > 0
        examples = self.task.read(share.start, share.stop)
        while chunk := encode_once(list(islice(examples, self.size)), self.collate.processor):
            left -= held(chunk)
            keeps = keeps and left >= 0
            if keeps:
                kept += chunk
            else:
                kept.clear()
            yield from chunk
        if keeps:
            self._kept = share, kept


def sample_question(task: Task) -> dict[str, Any]:
    """A task's first question as `answer` takes it, and the kinds of file that its signals and pictures were: such as
    {"prompt": "{touch} is it soft?", "files": {"touch": ["png"]}}."""
    index, files = load_index(task.folder), dict[str, list[str]]()
    for field in task.asked:
        kind = task.sensor.get(field, "image")
        if field in task.sensor or not set(index.modalities[field].ext) <= {"txt", "json"}:
            files.setdefault(kind, []).append(index.modalities[field].ext[0])
    examples = [example.parts for example in task.read(0, LOOKED)]
    kinds = {"image", *task.sensor.values()}
    plain = [parts for parts in examples if not _spells_field(parts, kinds)]
    words = [p["text"] if p["type"] == "text" else f"{{{p['type']}}}" for p in next(iter(plain or examples))]
    return {"prompt": "".join(words), "files": files}


def _spells_field(parts: Sequence[dict[str, Any]], kinds: Collection[str]) -> bool:
    """Whether a text among the parts holds what `answer` would take for a field."""
    texts = (part["text"] for part in parts if part["type"] == "text")
    return any(name in kinds for text in texts for name in FIELD.findall(text))
