"""A task over several data sets as one task for each: what a source says, the task's own words for the rest.

Note:
    A source's part of its task's weight is that of its samples, or of its own weight, so that every source has its
    places in each batch; a small batch may have too few for all, which is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pairalign.core.sources import sources_of
from pairalign.data.place import find_place
from pairalign.data.pool import Part, quotas
from pairalign.finetune.config import TaskConfig


@dataclass(frozen=True)
class TaskSource:
    """A task over one data set. sensor: make of its sensor, one for all or by sensor; None where nobody says it."""

    name: str
    config: TaskConfig
    sensor: str | dict[str, str] | None = None

    def sensor_of(self, name: str) -> str | None:
        """The make that the configuration says for one sensor."""
        return self.sensor if isinstance(self.sensor, str) or self.sensor is None else self.sensor.get(name)


def task_sources(name: str, config: TaskConfig, root: str) -> Iterator[TaskSource]:
    """The tasks that one stands for: itself, or one for each source of its list."""
    if isinstance(config.shards, str):
        yield TaskSource(name, config)
        return
    found = sources_of(config.shards)
    parts = [Part(find_place(s.path, root), s.split or config.split, s.weight, config.limit) for s in found]
    shares = quotas(parts)
    for one, part, share in zip(found, parts, shares, strict=True):
        own = replace(config, shards=one.path, split=part.split, weight=config.weight * share / sum(shares))
        yield TaskSource(f"{name}/{one.name}", own, one.sensor)
