"""Groups, sessions and trajectories on both sides of a split, and the case where the group is what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pairalign.data.audit import Audit
from pairalign.data.audit.groups import same_partition


@pytest.mark.parametrize("name", ["session", "trajectory"])
def test_a_recording_on_both_sides(
    name: str, audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    for row in series_rows:
        row["meta"] = {name: row.pop("session")}
    assert audit_series(series_rows, "groups").findings == ()
    series_rows[7]["meta"][name] = series_rows[11]["meta"][name] = series_rows[0]["meta"][name]
    (finding,) = audit_series(series_rows, "groups").findings
    assert (finding.severity, finding.keys) == ("error", ("s07", "s11"))
    assert finding.figures["shared"] == ["train0"]


def test_known_objects_by_choice_are_a_warning_not_an_error(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    for row in series_rows:
        row["group"] = f"object {row['label']}"
    (finding,) = audit_series(series_rows, "groups").findings
    assert finding.severity == "warning"
    assert "is the label here" in finding.message
    assert len(finding.keys) == 15


def test_samples_without_a_group_share_none(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    for row in series_rows[3:]:
        del row["session"]
    assert audit_series(series_rows, "groups").findings == ()


def test_two_names_for_one_grouping() -> None:
    assert same_partition(["a", "a", "b"], ["x", "x", "y"])
    assert not same_partition(["a", "a", "b"], ["x", "z", "y"])
    assert not same_partition(["a", "b", "b"], ["x", "x", "x"])
