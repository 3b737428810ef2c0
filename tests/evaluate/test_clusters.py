"""What counts as one sample for an interval."""

from __future__ import annotations

from typing import Any

from pairalign.evaluate.clusters import clusters_of, group_of


def parts(metas: list[dict[str, Any]]) -> set[frozenset[int]]:
    """Which samples are together."""
    found = clusters_of(metas)
    assert found is not None
    return {frozenset(i for i, f in enumerate(found) if f == value) for value in found}


def test_samples_that_share_group_or_session_are_joined() -> None:
    metas = [{"group": "cup", "session": 1}, {"session": 1}, {"group": "cup", "session": 2}, {"session": 2}, {},
             {"group": "pan"}]  # fmt: skip
    assert parts(metas) == {frozenset({0, 1, 2, 3}), frozenset({4}), frozenset({5})}


def test_where_all_are_joined_the_groups_count_or_else_the_sessions() -> None:
    crossed = [{"group": g, "session": s} for g in ("cup", "pan") for s in (1, 2)]
    assert parts(crossed) == {frozenset({0, 1}), frozenset({2, 3})}
    assert parts([{"group": "cup", "session": s} for s in (1, 1, 2)]) == {frozenset({0, 1}), frozenset({2})}


def test_none_where_nothing_or_everything_belongs_together() -> None:
    for metas in ([{}, {"label": 1}], [{"group": 1}, {"group": 1}], [{"group": 1}, {"group": 2}], []):
        assert clusters_of(metas) is None


def test_a_group_that_is_none_is_none() -> None:
    assert group_of({"group": None, "session": 3}) == 3
    assert group_of({"label": 1}) is None
