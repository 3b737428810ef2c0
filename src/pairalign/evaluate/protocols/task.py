"""What a protocol is given: a run, a shard folder, and the answers to what every protocol asks of them.

Note:
    `meta` reads only the small record of each sample, so that labels are checked before anything is encoded; and a
    leakage-free split is only free of leakage for a run that was trained on its training part, so `overlap` counts
    what was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pairalign.align.run import AlignRun
from pairalign.align.sources import edge_sources
from pairalign.core.errors import ConfigError, DataError, PairalignError, did_you_mean
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.shards import read_samples
from pairalign.evaluate.clusters import NAMES, clusters_of, one_cluster
from pairalign.evaluate.pool import EvalPool, encode_pool, readable

LEAKAGE_FREE = "by_"  # how conversions name split sets that keep objects, recordings or trajectories whole

Meta = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A run and the shards to measure it on. limit: most samples of each split. notes: what to add to `differs`."""

    run: AlignRun
    folder: ShardPlace
    index: ShardIndex
    limit: int | None = None
    seed: int = 0
    progress: bool = True
    notes: list[str] = field(default_factory=list)
    pools: dict[str, EvalPool] = field(default_factory=dict)
    metas: dict[str, dict[str, Meta]] = field(default_factory=dict)

    def source(self, modality: str) -> str:
        """The field of the shards that holds a modality of the run."""
        return self.run.config.modalities[modality].source or modality

    def modality(self, role: str, name: str, *, stored: bool = True) -> str:
        """Check that the run aligns modality `name`, and that the shards hold it; `role` is the setting to change."""
        known = self.run.aligner.encoders
        if name not in known:
            raise ConfigError(
                f"run {self.run.folder.name!r} aligns no modality {name!r}.{did_you_mean(name, known)} "
                f"Name the right one with {role}=NAME."
            )
        if stored and self.source(name) not in self.index.modalities:
            held = ", ".join(self.index.modalities)
            raise DataError(f"pairs {str(self.folder)!r} hold {held}, and no {self.source(name)!r} for {role}={name}.")
        return name

    def of_kind(self, kind: str, role: str, name: str | None, *, stored: bool = True) -> str:
        """The modality called `name`, or the only one of a kind of signal ("text", "points")."""
        if name is not None:
            return self.modality(role, name, stored=stored)
        found = [m for m in self.run.aligner.encoders if self.run.aligner.encoder(m).signal.kind == kind]
        if len(found) != 1:
            have = ", ".join(found) or "none"
            raise ConfigError(
                f"run {self.run.folder.name!r} must align one modality of kind {kind!r} for this protocol; it has "
                f"{have}: name one with {role}=NAME."
            )
        return self.modality(role, found[0], stored=stored)

    def joined(self, a: str, b: str) -> None:
        """Raise `ConfigError` unless a path of trained pairs joins two modalities."""
        self.run.aligner.path_gate(a, b)

    def splits(self, split: str | None, part: str = "test", needed: Sequence[str] = ()) -> dict[str, str]:
        """The test splits to measure, and of which split set each is: the one asked for, or `part` and beside it the
        same part of every leakage-free one. needed: other parts that a split set must have too, such as "train"."""
        if split is not None:
            self.index.split(split, self.folder)
            return {split: split_set_of(split)}
        self.index.split(part, self.folder)
        found = {part: split_set_of(part)}
        for name, parts in self.index.split_sets.items():
            if name.startswith(LEAKAGE_FREE) and all(p in parts and parts[p].count for p in (part, *needed)):
                found[f"{name}/{part}"] = split_set_of(f"{name}/{part}")
        return found

    def meta(self, split: str) -> dict[str, Meta]:
        """Label, group, sensor and so on of every sample of a split, by key; decodes nothing."""
        if split not in self.metas:
            self.index.split(split, self.folder)  # an unknown or empty one is an error
            bad: list[tuple[str, str]] = []  # the pool lists them
            samples = read_samples(self.folder, split, [], on_bad=lambda *entry: bad.append(entry))
            total, hide = self.index.split(split).count, not self.progress
            bar = tqdm(samples, desc=f"read labels of {split}", total=total, unit="sample", disable=hide)
            self.metas[split] = {sample.key: sample.meta for sample in bar}
        return self.metas[split]

    def clusters(self, metas: Sequence[Meta]) -> list[int] | None:
        """`clusters_of` some samples, with a note where all are one and intervals hence take them one by one."""
        if one_cluster(metas):
            self.notes.append("all samples are of one group or session and resampled one by one: too narrow intervals.")
        return clusters_of(metas)

    def pool(self, split: str) -> EvalPool:
        """The split, encoded with every modality; once."""
        if split not in self.pools:
            self.pools[split] = encode_pool(self.run, self.folder, split, limit=self.limit, progress=self.progress)
        return self.pools[split]


def start_task(run: AlignRun, pairs: str | Path | Remote, **settings: Any) -> Task:
    """A `Task` on one shard folder; `DataError` if it is none, `SignalError` if the run cannot read what it holds."""
    place = find_place(pairs)
    index = load_index(place)
    readable(run, index, place)
    return Task(run, place, index, **settings)


def split_set_of(split: str) -> str:
    """ "leakage-free" for a split of a set that keeps objects or recordings whole, else "official"."""
    return "leakage-free" if "/" in split and split.startswith(LEAKAGE_FREE) else "official"


def train_part(test: str) -> str:
    """The training split that belongs to a test split: "train", "rough/train", "by_recording/train"."""
    return "".join(test.rpartition("/")[:2]) + "train"


def overlap(task: Task, metas: Mapping[str, Meta], *trained: str) -> dict[str, Any]:
    """How many of the test samples were trained on, and how many share a group or session with what was:
    {"trained_on", "samples", "groups"}.

    trained: splits that a probe was trained on; the run's own training split joins them if it is of these shards.
    Empty if nothing is known: the run learnt from other shards, and no probe was trained.
    """
    splits = [s for s in dict.fromkeys([*trained_splits(task), *trained]) if s in task.index.every_split]
    if not splits:
        return {}
    seen = {key: _places(meta) for split in splits for key, meta in task.meta(split).items()}
    known = set().union(*seen.values())
    of_known = sum(not known.isdisjoint(_places(meta)) for meta in metas.values())
    return {"trained_on": splits, "samples": sum(key in seen for key in metas), "groups": of_known}


def _places(meta: Meta) -> set[tuple[str, str]]:
    """The group and the session that a sample is of."""
    return {(name, str(meta[name])) for name in NAMES if meta.get(name) is not None}


def trained_here(task: Task) -> bool:
    """Whether an edge of the run was trained on these very shards, by their content."""
    return bool(trained_splits(task))


def trained_splits(task: Task) -> list[str]:
    """The splits of these very shards, told by their content, that the run was trained on."""
    found: dict[str, None] = {}
    for edge in task.run.config.edges:
        try:
            for source in edge_sources(task.run.config, edge):
                if load_index(source.folder).content_hash == task.index.content_hash:
                    found[source.train] = None
        except PairalignError:  # not there any more
            continue
    return list(found)


def labelled(metas: Mapping[str, Meta], factor: str | None) -> dict[str, Any]:
    """Label by key of the samples that have one: of a factor of the label, or with `None` a plain label."""
    found = {}
    for key, meta in metas.items():
        label = meta.get("label")
        value = label.get(factor) if isinstance(label, dict) else (label if factor in (None, "label") else None)
        if value is not None:
            found[key] = value
    return found
