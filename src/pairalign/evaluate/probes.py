"""Linear probes of an encoded pool: every factor, from each modality's shared and private part.

They are trained on the training split of the same shards, a bounded number of its samples, and scored on the pool.

Note:
    Without such a split half of the pool trains them and the other half scores them, which is few samples and a lower
    figure; table, report and metrics say which it was, and how many groups of the pool had been trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pairalign.align.run import AlignRun
from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace
from pairalign.evaluate.pool import EvalPool, encode_pool, pooled
from pairalign.evaluate.probe import ProbeScore, linear_probe, split_rows

LEAST = 20  # samples of a pool that is probed
MOST = 2000  # samples that train a probe


class _Part(NamedTuple):
    """One side of a probe: rows of a pool, and what is one in an interval."""

    pool: EvalPool
    rows: Sequence[int]

    def latents(self, modality: str, part: str) -> Tensor:
        found: Tensor = getattr(self.pool.latents[modality], part)[list(self.rows)]
        return found

    def labels(self, factor: str) -> list[str]:
        return [str(self.pool.factors[factor][row]) for row in self.rows]

    def clusters(self) -> list[int] | None:
        """None where the samples stand for themselves, or too few things are behind them to divide."""
        found = [self.pool.clusters[row] for row in self.rows] if self.pool.clusters else []
        return found if len(set(found)) > 3 else None


def probed(pool: EvalPool) -> bool:
    """Whether there is something to probe."""
    return bool(pool.factors) and len(pool.keys) >= LEAST


def check_split(split: str | None, folders: Iterable[ShardPlace]) -> None:
    """Raise `DataError` for a split to train on that is named and not there."""
    for folder in folders:
        there = load_index(folder).every_split
        if split is not None and split not in there:
            raise DataError(f"probe_split={split!r}: {str(folder)!r} has no such split.{did_you_mean(split, there)}")


def training_pools(
    run: AlignRun,
    wanted: Iterable[tuple[ShardPlace, str]],
    pools: Mapping[str, EvalPool],
    *,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> dict[str, EvalPool]:
    """By the name of each pool the samples that train its probes; nothing for one whose shards have no other split.

    wanted: folder and split of each pool, in order; what is pooled of several stands behind them. split: of training;
    by default the run's own. limit: most samples, `MOST` by default. Raise `DataError` for a split that is not there.
    """
    name, named, wanted = split or run.config.data.train_split, list(pools), list(wanted)
    found: dict[str, EvalPool] = {}
    of: dict[str, list[str]] = {}
    known = {  # what is measured itself is not encoded again
        folder: pools[pool]
        for (folder, held), pool in zip(wanted, named, strict=False)
        if held == name and len(pools[pool].keys) <= MOST
    }
    for (folder, held), pool in zip(wanted, named, strict=False):
        of.setdefault(f"pooled/{held}", []).append(pool)
        there = load_index(folder).every_split
        if name == held or name not in there or there[name].count < LEAST or not probed(pools[pool]):
            continue
        if folder not in known:
            settings: dict[str, Any] = {"limit": min(limit or MOST, MOST), "examples": 0, "progress": progress}
            known[folder] = encode_pool(run, folder, name, shuffle=10 * MOST, **settings)
        found[pool] = known[folder]
    for together in named:
        parts = of.get(together, [])
        if parts and all(part in found for part in parts):
            joined = pooled([found[part] for part in parts], name)
            if joined is not None:
                found[together] = joined
    return found


def measure_probes(pool: EvalPool, training: EvalPool | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Scores by modality, part and factor, None for a factor of one class in training. training: None divides the pool
    in halves, by whole groups where it has some."""
    train, test = _halves(pool, seed) if training is None else (_Part(training, range(len(training.keys))), _all(pool))
    record: dict[str, Any] = {}
    for modality, latents in pool.latents.items():
        if modality not in train.pool.latents:
            continue
        record[modality] = {
            part: {factor: _probe(train, test, modality, part, factor, seed) for factor in pool.factors}
            for part, z in zip(("shared", "private"), latents, strict=True)
            if z.shape[1]
        }
    return record


def trained_on(pool: EvalPool, training: EvalPool | None) -> dict[str, Any]:
    """What the probes were trained on, for metrics: the split, its samples, and groups of the pool that are in it."""
    if training is None:
        return {"split": None, "n": len(pool.keys) // 2, "shared_groups": 0}
    split = training.name.rpartition("/")[2]
    shared = set(map(str, pool.groups or ())) & set(map(str, training.groups or ()))
    return {"split": split, "n": len(training.keys), "shared_groups": len(shared)}


def told(record: Mapping[str, Any]) -> str:
    """The same in words, for table and report."""
    about = record.get("probes_trained_on")
    if not about or about["split"] is None:
        return "NO TRAINING SPLIT HERE: trained on half of these samples, scored on the other half"
    text = f"trained on {about['n']:,} samples of split {about['split']!r}, scored on all {record['n']:,} here"
    if about["shared_groups"]:
        text += f"; {about['shared_groups']} of their groups are in {about['split']!r} too: known things, not new ones"
    return text


def warn_of_halves(record: Mapping[str, Any], name: str) -> None:
    """Say on stderr that a pool had no split to train its probes on."""
    if record.get("probes") and record["probes_trained_on"]["split"] is None:
        print(
            f"note: {name}: linear probes are trained on half of it, for its shards have no split to train them on: "
            "pack one, or name it with --probe-split (`probe_split`).",
            file=sys.stderr,
        )


def _all(pool: EvalPool) -> _Part:
    return _Part(pool, range(len(pool.keys)))


def _halves(pool: EvalPool, seed: int) -> tuple[_Part, _Part]:
    train, test = split_rows(len(pool.keys), 0.5, groups=_all(pool).clusters(), seed=seed)
    return _Part(pool, train.tolist()), _Part(pool, test.tolist())


def _probe(train: _Part, test: _Part, modality: str, part: str, factor: str, seed: int) -> ProbeScore | None:
    if factor not in train.pool.factors or len(set(train.labels(factor))) < 2:
        return None
    x, y = train.latents(modality, part), train.labels(factor)
    settings: dict[str, Any] = {"groups": test.clusters(), "seed": seed}
    if train.pool is not test.pool:  # halves of one pool have too few groups to hold some of them out again
        settings["train_groups"] = train.clusters()
    return linear_probe(x, y, test.latents(modality, part), test.labels(factor), **settings)
