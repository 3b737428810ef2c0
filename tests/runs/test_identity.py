"""What tells two runs apart: every setting that changes the result, and not where the same data lies."""

from __future__ import annotations

from typing import Any

import pytest

from pairalign.runs.identity import Identity

MADE = {"shards of edge a-b": "0" * 64}


def settings(shards: Any, **data: Any) -> dict[str, Any]:
    return {"edges": [{"between": ["a", "b"], "shards": shards, "weight": 1.0}], "data": {"root": "x", **data}}


POOL = [{"path": "one", "weight": None, "split": "train"}, {"path": "two", "weight": None, "split": "train"}]
MOVED = [{**POOL[0], "path": "s3://b/one"}, POOL[1]]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (settings("a-b"), settings("s3://bucket/a-b")),
        (settings(POOL), settings(MOVED)),
        (settings("a-b", cache=None), settings("a-b", cache="/scratch", cache_gb=3.0, root="https://h")),
    ],
)
def test_the_same_data_may_lie_elsewhere(was: Any, now: Any) -> None:
    assert Identity(was, MADE).differences(Identity(now, MADE)) == []
    assert Identity(was, MADE).differences(Identity(now, {"shards of edge a-b": "1" * 64})) != []


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (settings([{**POOL[0], "split": "rest"}, POOL[1]]), "edges.0.shards.0.split"),
        (settings([{**POOL[0], "weight": 2.0}, POOL[1]]), "edges.0.shards.0.weight"),
        (settings(POOL, shuffle=3), "data.shuffle"),
    ],
)
def test_what_changes_the_result_counts(now: Any, name: str) -> None:
    assert Identity(settings(POOL), MADE).differences(Identity(now, MADE)) == [name]


def test_without_hashes_the_place_is_all_that_tells() -> None:
    assert Identity(settings("a-b")).differences(Identity(settings("b-c"))) == ["edges.0.shards"]
