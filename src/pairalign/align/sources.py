"""The data sets of a stage-one run: every edge's shards as places, splits and sensors; which edges share a dataset.

Note:
    Edges share one only if they name the same data sets, splits, weights and sensors; then a sample is read,
    preprocessed and encoded once for all of them, and one that is damaged in any modality is left out of all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pairalign.core.config import AlignConfig, EdgeConfig
from pairalign.data.graph import Edge, edge_name
from pairalign.data.index import ModalityInfo
from pairalign.data.place import ShardPlace, find_place


@dataclass(frozen=True)
class EdgeSource:
    """One data set of an edge: its shard folder or URL, and its splits.

    sensor: make of its sensor, one for all modalities or (modality, make) of some.
    """

    name: str
    folder: ShardPlace
    train: str
    val: str | None
    weight: float | None
    sensor: str | tuple[tuple[str, str], ...] | None = None

    def sensor_of(self, end: str) -> str | None:
        """The make that the configuration says of one modality."""
        return self.sensor if isinstance(self.sensor, str) else dict(self.sensor or ()).get(end)


@dataclass(frozen=True)
class Pool:
    """Data sets that are drawn from together, and the edges that they are pairs of."""

    edges: tuple[Edge, ...]
    sources: tuple[EdgeSource, ...]
    temperature: float | None = None

    @property
    def name(self) -> str:
        """The names of its edges, joined."""
        return "+".join(map(edge_name, self.edges))


def edge_sources(config: AlignConfig, edge: EdgeConfig) -> tuple[EdgeSource, ...]:
    """The data sets of one edge, with the run's splits where an entry has none of its own."""
    data, found = config.data, []
    for one in edge.sources:
        sensor = tuple(sorted(one.sensor.items())) if isinstance(one.sensor, dict) else one.sensor
        val = None if data.val_split is None else one.val_split or data.val_split
        place = find_place(one.path, data.root)
        found.append(EdgeSource(str(one.name), place, one.split or data.train_split, val, one.weight, sensor))
    return tuple(found)


def pools_of(config: AlignConfig) -> list[Pool]:
    """The pools of a run, each with all edges over the same data sets, in the order of the edges."""
    found: dict[object, Pool] = {}
    for edge in config.edges:
        sources = edge_sources(config, edge)
        same = tuple(replace(source, folder=source.folder.resolve()) for source in sources)
        if len(same) == 1:
            same = (replace(same[0], name=""),)  # which no figure names
        before = found.get((same, edge.temperature))
        edges = (*before.edges, edge.between) if before else (edge.between,)
        found[same, edge.temperature] = Pool(edges, before.sources if before else sources, edge.temperature)
    return list(found.values())


def cache_home(config: AlignConfig, end: str, source: EdgeSource, split: str) -> Path:
    """What the anchor cache of a frozen modality over one split is called, without its fingerprint."""
    return Path(config.cache or Path(config.out) / "cache") / f"{end}-{source.folder.name}-{split}"


def recorded_of(source: EdgeSource, info: ModalityInfo, end: str) -> dict[str, Any]:
    """What is known of a data set's samples of one modality, as encoders are told it: what the index records, with the
    sensor that the configuration says."""
    told = source.sensor_of(end)
    return asdict(info) | ({} if told is None else {"sensor": told, "told": True})
