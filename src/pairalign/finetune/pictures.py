"""What keeping a base's picture features would take and save in a run, for its plan: see `pairalign.sensors.vision`.

Note:
    Every sample counts with its own picture; where samples share some, less is kept. The time is of a few samples, read
    and then taken from memory.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from pairalign.core.errors import ConfigError
from pairalign.dormant.plan import format_bytes
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.tasks import Task
from pairalign.sensors.model import SensorModel
from pairalign.sensors.vision import VisionMemory, check_still

SAMPLES = 8  # of each task
ALL = 1024.0  # GiB


@dataclass(frozen=True)
class Pictures:
    """samples: of training tasks that show pictures, and of what is rehearsed. bytes: of all their features. seconds:
    that reading the pictures of a batch takes. gib: that the configuration keeps."""

    samples: int
    bytes: int
    seconds: float
    gib: float

    def __str__(self) -> str:
        told = f"{self.samples:,} samples with pictures, whose features take {format_bytes(self.bytes)}"
        kept = min(1.0, self.gib * 2**30 / self.bytes)
        saved = f"{self.seconds:.3g} s of a batch once they are read"
        if not kept:
            return f"{told}: to keep them saves {saved}, but train.vision_memory is 0"
        return f"{told}: train.vision_memory={self.gib:g} keeps {kept:.0%} of them, and that saves up to {saved}"


@torch.no_grad()
def count_pictures(
    config: RecomposeConfig, model: SensorModel, collate: Collator, tasks: Sequence[Task], calibration: Sequence[Task]
) -> Pictures | None:
    """Of a run; `None` where no training task shows a picture and none is rehearsed, or features cannot be kept."""
    try:
        check_still(model.llm)
    except ConfigError:
        return None
    samples = total = 0
    seconds = 0.0
    for task, count, places in _shown(config, tasks, calibration):
        batch = collate(list(itertools.islice(task.read(), SAMPLES))).to(model.device)
        memory, times = VisionMemory(ALL), list[float]()
        for _ in range(2):
            start = time.perf_counter()
            with memory.reading(model.llm):
                answer_logits(model, batch)
            if model.device.type != "cpu":
                torch.accelerator.synchronize(model.device)
            times.append(time.perf_counter() - start)
        samples += count
        total += sum(seen.bytes for seen in memory.kept.values()) * count // len(batch.keys)
        seconds += max(0.0, times[0] - times[1]) * places / len(batch.keys)
    return Pictures(samples, total, seconds, config.train.vision_memory) if total else None


def _shown(
    config: RecomposeConfig, tasks: Sequence[Task], calibration: Sequence[Task]
) -> Iterator[tuple[Task, int, float]]:
    """Tasks that show pictures, the samples of each that a run reads, and how many are read for a batch, on average."""
    train, taught = config.train, [task for task in tasks if task.config.weight]
    held = train.rehearse.share
    total = sum(task.config.weight for task in taught)
    for task in taught:
        if task.shows_pictures:
            yield task, len(task), train.batch_size * (1 - held) * task.config.weight / total
    for task in calibration if held and train.rehearse.prompts == "calibration" else ():
        if task.shows_pictures:  # read with the updates off, and on
            yield task, min(len(task), config.calibration_size), 2 * train.batch_size * held / len(calibration)
