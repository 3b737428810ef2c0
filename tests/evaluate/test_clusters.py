"""One rule says which samples count as one, and every interval follows it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairalign.data.index import load_index
from pairalign.evaluate.clusters import clusters_of, group_of, one_cluster
from pairalign.evaluate.protocols.task import Task, overlap


def linked(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return any(a.get(name) is not None and a.get(name) == b.get(name) for name in ("group", "session"))


def slow(metas: list[dict[str, Any]]) -> list[frozenset[int]]:
    """For each sample, all that a chain of shared groups and sessions reaches, looked up step by step."""
    found = []
    for i in range(len(metas)):
        reached = {i}
        while more := {k for j in reached for k in range(len(metas)) if linked(metas[j], metas[k])} - reached:
            reached |= more
        found.append(frozenset(reached))
    return found


def test_samples_are_joined_as_the_slow_way_joins_them() -> None:
    draw, met = random.Random(0), 0
    for _ in range(30):
        metas: list[dict[str, Any]] = []
        for _ in range(12):
            meta = {"group": draw.choice(["a", "b", "c", "d", None]), "session": draw.choice([1, 2, 3, 4, 5, None])}
            metas.append({name: value for name, value in meta.items() if draw.random() < 0.5})
        numbers, expected = clusters_of(metas), slow(metas)
        if numbers is None or len(set(expected)) == 1:
            continue
        met += 1
        assert [[a == b for b in numbers] for a in numbers] == [[j in one for j in range(12)] for one in expected]
    assert met > 20


def test_where_all_are_joined_the_groups_count_or_else_the_sessions() -> None:
    crossed = [{"group": g, "session": s} for g in ("cup", "pan") for s in (1, 2)]
    assert clusters_of(crossed) == [0, 0, 2, 2]
    assert clusters_of([{"group": "cup", "session": s} for s in (1, 1, 2)]) == [0, 0, 2]
    assert not one_cluster(crossed)


def test_the_group_comes_before_the_session() -> None:
    assert group_of({"group": "cup", "session": 3}) == "cup"
    assert group_of({"group": None, "session": 3}) == 3
    assert group_of({"label": 1}) is None


def test_no_clusters_where_they_say_nothing() -> None:
    assert clusters_of([{}, {"label": 1}]) is None
    assert clusters_of([{"group": 1}, {"group": 2}]) is None  # each its own: one by one is the same
    assert clusters_of([{"group": 1}, {"group": 1}]) is None
    found = clusters_of([{"group": 1}, {}, {"session": 5, "group": 1}, {"session": 5}])
    assert found is not None
    assert len(set(found)) == 2
    assert one_cluster([{"group": 1}, {"group": 1, "session": 2}])
    assert not one_cluster([{"group": 1}])
    assert not one_cluster([{}, {}])


@pytest.fixture
def task(tmp_path: Path) -> Callable[[list[dict[str, Any]], list[dict[str, Any]]], Task]:
    """A task of which only the metas of "train" and "test" are known, learnt from other shards."""
    from pairalign.data.pack import pack_pairs

    def make(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> Task:
        rows = [
            {"key": f"{split}{i}", "text": f"{split} {i}", "split": split, **meta}
            for split, metas in (("train", train), ("test", test))
            for i, meta in enumerate(metas)
        ]
        pack_pairs(rows, tmp_path / "pairs", modalities=["text"], progress=False)
        return Task(None, tmp_path / "pairs", load_index(tmp_path / "pairs"), progress=False)  # type: ignore[arg-type]

    return make


def test_overlap_and_notes_follow_the_same_rule(task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairalign.evaluate.protocols.task.trained_splits", lambda task: [])
    train = [{"group": "cup", "session": "monday"}, {"group": "pan"}]
    test = [{"group": "lid", "session": "monday"}, {"group": "lid"}, {"group": "pan"}, {"group": "rug"}, {}]
    found = task(train, test)
    metas = found.meta("test")
    # the first by its session, the third by its group
    assert overlap(found, metas, "train") == {"trained_on": ["train"], "samples": 0, "groups": 2}
    grouped = found.clusters(list(metas.values()))
    assert grouped is not None
    assert len(set(grouped)) == 4
    assert found.notes == []
    assert found.clusters([{"group": 1}, {"group": 1}]) is None
    assert "too narrow" in found.notes[0]
