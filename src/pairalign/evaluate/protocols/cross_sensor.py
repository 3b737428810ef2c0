"""Cross-sensor: learn from the touches of one sensor, test on those of another, for every ordered pair of sensors.

Source: the transfer between sensors that AnyTouch (arXiv:2502.12191) asks for; no figure is published in this form.
A linear probe is trained on sensor A's training part and tested on sensor B's test part; and touches of A retrieve
those of B that touch the same object.

Note:
    A → B and B → A are two measurements; and the probe from a sensor to itself stands beside them, since only the
    distance to it is the price of another sensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.evaluate.clusters import group_of
from pairalign.evaluate.probe import linear_probe
from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Meta, Task, labelled, overlap, train_part
from pairalign.evaluate.protocols.touch_and_go import PARTS, latents_of
from pairalign.evaluate.retrieval import retrieval

LEAST = 5  # samples of a sensor in a split: fewer say nothing

Job = tuple[str, str, str]  # kind, train split, test split


@register_protocol(
    "cross-sensor",
    title="from the touches of one sensor to those of another",
    source="transfer between touch sensors, after AnyTouch (arXiv:2502.12191)",
    differs=("no figure is published in this form: compare runs with each other, and with the sensor on itself.",),
)
def measure(
    task: Task,
    touch: str = "touch",
    factor: str | None = None,
    latents: str = "shared",
    split: str | None = None,
) -> list[Measurement]:
    """touch: modality of the run; each sample's meta names its "sensor". factor: of the label, for the probe; default
    every one. latents: "shared", "private" or "both". split: a test split, with its training part
    beside it; default "test", and leakage-free ones beside it. Retrieval needs groups (objects) that two sensors met.
    """
    touch = task.modality("touch", touch)
    if latents not in PARTS:
        raise ConfigError(f"setting latents={latents!r} is unknown.{did_you_mean(latents, PARTS)}")
    plans = []
    for test, split_set in task.splits(split).items():
        try:
            plans.append(_plan(task, test, split_set, factor))
        except DataError as error:
            if split is not None or split_set == "official":
                raise
            task.notes.append(f"{test} is left out: {error}")
    if not any(plan.probes or plan.pairs for plan in plans):
        raise DataError(
            f"pairs {str(task.folder)!r}: no two sensors share a label between train and test, nor an object that both "
            "touched: there is nothing to compare them by. Pack the pairs with a label or a group."
        )
    found: list[Measurement] = []
    for plan in plans:
        found += [_probe(task, touch, latents, plan, *probe) for probe in plan.probes]
        found += [_retrieve(task, touch, latents, plan, a, b) for a, b in plan.pairs]
    return found


@dataclass(frozen=True)
class Plan:
    """What can be measured of a test split. probes: (factor, trained on, tested on); pairs: (queries, targets)."""

    test: str
    train: str
    split_set: str
    probes: list[tuple[str, str, str]]
    pairs: list[tuple[str, str]]


def by_sensor(metas: Mapping[str, Meta]) -> dict[str, dict[str, Meta]]:
    """Samples by sensor, as far as they name one."""
    found: dict[str, dict[str, Meta]] = {}
    for key, meta in metas.items():
        if meta.get("sensor") is not None:
            found.setdefault(str(meta["sensor"]), {})[key] = meta
    return found


def _plan(task: Task, test: str, split_set: str, factor: str | None) -> Plan:
    """What can be measured of a test split, checked before anything is encoded."""
    train = train_part(test)
    tested = by_sensor(task.meta(test))
    trained = by_sensor(task.meta(train)) if train != test and train in task.index.every_split else {}
    sizes = {s: len(trained.get(s, {})) + len(tested.get(s, {})) for s in sorted(trained.keys() | tested.keys())}
    if sum(size >= LEAST for size in sizes.values()) < 2:
        counts = ", ".join(f"{sensor} {size}" for sensor, size in sizes.items()) or "none"
        raise DataError(
            f"pairs {str(task.folder)!r}, {test}: cross-sensor needs two sensors of at least {LEAST} samples each, "
            f"named by `sensor` in each sample's meta; there are: {counts}."
        )
    names = _factor_names(task.meta(test))
    if factor is not None and factor not in names:
        raise DataError(f"setting factor={factor!r}: {test} has no such label.{did_you_mean(factor, names)}")
    probes = []
    for name, a, b in product([factor] if factor else names, sizes, sizes):
        known, asked = labelled(trained.get(a, {}), name), labelled(tested.get(b, {}), name)
        if len(known) >= LEAST and len(set(known.values())) > 1 and len(asked) >= LEAST:
            probes.append((name, a, b))
        else:
            task.notes.append(f"{name}, {a} → {b} in {test}: too few labelled touches: left out.")
    groups = {sensor: {group_of(meta) for meta in metas.values()} - {None} for sensor, metas in sorted(tested.items())}
    pairs = [(a, b) for a, b in permutations(groups, 2) if len(groups[a] & groups[b]) > 1]
    return Plan(test, train, split_set, probes, pairs)


def _factor_names(metas: Mapping[str, Meta]) -> list[str]:
    """The parts of the labels, or "label" for plain ones, sorted."""
    names: set[str] = set()
    for meta in metas.values():
        label = meta.get("label")
        names.update(label if isinstance(label, dict) else ["label"] if label is not None else [])
    return sorted(names)


def _rows(task: Task, split: str, sensor: str, wanted: Mapping[str, Any]) -> tuple[list[int], list[str]]:
    """Rows and keys of a sensor's touches in a pool, of those that `wanted` holds."""
    pool, metas = task.pool(split), task.meta(split)
    rows = [i for i, key in enumerate(pool.keys) if key in wanted and str(metas[key].get("sensor")) == sensor]
    return rows, [pool.keys[i] for i in rows]


def _probe(task: Task, touch: str, part: str, plan: Plan, factor: str, a: str, b: str) -> Measurement:
    """Train on sensor a's training part, test on sensor b's test part."""
    known, asked = labelled(task.meta(plan.train), factor), labelled(task.meta(plan.test), factor)
    (rows, keys), (test_rows, test_keys) = _rows(task, plan.train, a, known), _rows(task, plan.test, b, asked)
    x, z = (latents_of(task.pool(split), touch, part) for split in (plan.train, plan.test))
    metas = {key: task.meta(plan.test)[key] for key in test_keys}
    score = linear_probe(
        x[rows],
        [str(known[key]) for key in keys],
        z[test_rows],
        [str(asked[key]) for key in test_keys],
        groups=task.clusters(list(metas.values())),
        seed=task.seed,
    ).accuracy
    name = f"{factor}, probe {a} → {b}" + (" (same sensor)" if a == b else "")
    seen = overlap(task, metas, plan.train)
    return Measurement(name, "accuracy", score, plan.test, plan.split_set, plan.train, overlap=seen)


def _retrieve(task: Task, touch: str, part: str, plan: Plan, a: str, b: str) -> Measurement:
    """Touches of sensor a retrieve those of sensor b; right is the same object."""
    metas = {key: meta for key, meta in task.meta(plan.test).items() if group_of(meta) is not None}
    (rows, keys), (targets, target_keys) = (_rows(task, plan.test, sensor, metas) for sensor in (a, b))
    x = latents_of(task.pool(plan.test), touch, part)
    found = retrieval(
        x[rows],
        x[targets],
        query_ids=[str(group_of(metas[key])) for key in keys],
        target_ids=[str(group_of(metas[key])) for key in target_keys],
        groups=task.clusters([metas[key] for key in keys]),
        ks=(1,),
        seed=task.seed,
    )
    seen = overlap(task, {key: metas[key] for key in keys})
    return Measurement(f"object, retrieval {a} → {b}", "R@1", found.recall[1], plan.test, plan.split_set, overlap=seen)
