"""Where a run keeps what stands before its prompts' first signals, and what that would take, for its plan.

Note:
    Files are named after every weight of the base, so that a run that goes on reads what the killed one left, and no
    other base's. What one sample takes counts for each: where samples share what they begin with, less is kept.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pairalign.dormant.cache import key_of
from pairalign.dormant.plan import format_bytes
from pairalign.finetune.base_cache import base_key
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.tasks import Task
from pairalign.runtime import Runtime
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import cut, read_before
from pairalign.sensors.prefix_disk import PrefixDisk
from pairalign.sensors.processor import SensorProcessor

FOLDER = "prefixes"
WHOLE = (
    "prompts are read whole where trained weights act always, and under fsdp2, device_map and gradient_checkpointing"
)
SAMPLES = 8  # of each task


def reads_apart(config: RecomposeConfig) -> bool:
    """Whether what stands before a prompt's first signal is the base's and stays it, and is read apart."""
    behind = config.method == "bridge" or (config.method == "dormant" and config.dormant.acts == "sensor")
    return behind and not config.train.gradient_checkpointing and config.device_map is None


def open_disk(
    config: RecomposeConfig,
    model: SensorModel,
    processor: SensorProcessor,
    hashes: Mapping[str, str] | None,
    runtime: Runtime,
) -> PrefixDisk | None:
    """The run's files, of a base that no method has changed yet; `None` where none are asked for, or its weights have
    no `hashes`, or it cannot be told from others, which is said."""
    if not config.train.prefix_disk or hashes is None:
        return None
    home = Path(config.out)

    def key() -> str | None:
        try:
            return base_key(model, processor, hashes, runtime, home=home)
        except (OSError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            print(
                f"train.prefix_disk: the base cannot be told from others, and nothing is kept: {error}", file=sys.stderr
            )
            return None

    found = runtime.main_only(key)
    if found is None:
        return None
    made_of = key_of([found, config.train.precision])
    return PrefixDisk(home / FOLDER, config.train.prefix_disk, made_of, runtime.world)


@dataclass(frozen=True)
class PrefixPlan:
    """samples: of training tasks whose prompts are cut. bytes: of all their keys and values. memory, disk: GiB that the
    configuration keeps."""

    samples: int
    bytes: int
    memory: float
    disk: float

    def __str__(self) -> str:
        told = f"{self.samples:,} samples, whose keys and values take {format_bytes(self.bytes)}"
        kept = [min(self.bytes, int(gib * 2**30)) for gib in (self.memory, self.memory + self.disk)]
        shares = zip(("memory", "disk"), (kept[0], kept[1] - kept[0]), strict=True)
        return f"{told}: " + ", ".join(f"train.prefix_{place} keeps {size / self.bytes:.0%}" for place, size in shares)


@torch.no_grad()
def count_before(task: Task, collate: Collator, model: SensorModel) -> tuple[float, float]:
    """Tokens before the first signal of a sample, and bytes of their keys and values, where a batch of such samples is
    cut there; 0 where it is read whole."""
    batch = collate(list(itertools.islice(task.read(), SAMPLES))).to(model.device)
    found = cut(model, batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.columns + 1)
    rows = None if found is None else read_before(model, found, batch.inputs)
    if found is None or rows is None:
        return 0.0, 0.0
    return float(found.before_mask.sum()) / len(rows), sum(row.bytes for row in rows) / len(rows)


def plan_prefixes(config: RecomposeConfig, tasks: Sequence[Task], sizes: Mapping[str, float]) -> PrefixPlan | None:
    """Of a run; sizes: bytes of a sample by task, see `count_before`. `None` where all prompts are read whole."""
    told = [(len(task), sizes[task.name]) for task in tasks if task.config.weight and sizes[task.name]]
    if not told:
        return None
    total = round(sum(count * size for count, size in told))
    return PrefixPlan(sum(count for count, _ in told), total, config.train.prefix_memory, config.train.prefix_disk)
