"""Pairs made by class, and how few groups stand behind many samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import Audit, audit_pairs

Rows = list[dict[str, Any]]


@pytest.fixture
def audit(pack: Callable[..., Path]) -> Callable[..., Audit]:
    def run(rows: Rows, check: str) -> Audit:
        return audit_pairs(pack(rows), checks=[check], progress=False)

    return run


def by_class(count: int = 24, classes: int = 4, **meta: Any) -> Rows:
    """A touch of its own for every sample, beside one photo a class."""
    rng = np.random.default_rng(0)
    photos = rng.normal(size=(classes, 5)).astype(np.float32)
    return [
        {
            "key": f"s{n:02d}", "touch": rng.normal(size=6).astype(np.float32), "photo": photos[n % classes],
            "text": f"touch {n}", "label": f"part {n % classes}", "split": "test" if n % 3 == 2 else "train", **meta,
        }
        for n in range(count)
    ]  # fmt: skip


def test_one_photo_for_every_touch_of_a_class(audit: Callable[..., Audit]) -> None:
    found = audit(by_class(), "pairing")
    (finding,) = found.findings
    assert finding.severity == "warning"
    assert "24 samples share 4 values of 'photo', decided by 'label', beside 24 of 'touch'" in finding.message
    assert "R@1 = 0.167" in finding.message
    assert found.measures["pairing"] == {"touch beside photo": 1.0, "photo beside touch": 6.0}


def test_the_class_may_be_an_object_a_factor_or_a_caption(audit: Callable[..., Audit]) -> None:
    for name, put in (
        ("group", {"group": "label"}), ("label part", {"label": {"part": "label"}}), ("text", {"text": "label"}),
    ):  # fmt: skip
        rows = by_class()
        for row in rows:
            label = row.pop("label")
            for field, value in put.items():
                row[field] = {"part": label} if isinstance(value, dict) else label
        (finding,) = audit(rows, "pairing").findings
        assert finding.figures["by"] == name


def test_pairs_by_instance_and_shared_values_that_no_class_decides(audit: Callable[..., Audit]) -> None:
    rows = by_class()
    for row in rows:
        row["photo"] = row["touch"] + 1
    assert audit(rows, "pairing").findings == ()
    crossed = by_class()
    for number, row in enumerate(crossed):
        row["label"] = f"part {number % 3}"  # both classes and photos repeat, but neither decides the other
    assert audit(crossed, "pairing").findings == ()
    once = by_class()
    for row in once:
        row["touch"] = row["photo"] * 2  # both sides are of the class: there is no instance to be missed
    assert audit(once, "pairing").findings == ()


def test_few_groups_behind_many_samples(audit: Callable[..., Audit]) -> None:
    rows = by_class(60)
    for number, row in enumerate(rows):
        row["group"] = f"object {number % 6}"
        row["session"] = row["group"].upper()  # the same grouping is told once
    found = audit(rows, "clusters")
    (finding,) = found.findings
    assert (finding.severity, finding.figures["groups"], finding.figures["samples"]) == ("warning", 2, 20)
    assert "the 20 samples of split 'test' are of 2 groups (6 in all splits)" in finding.message
    assert found.measures["clusters"] == {"group, train": 4, "group, test": 2}


def test_many_groups_or_one_sample_a_group_are_fine(audit: Callable[..., Audit]) -> None:
    rows = by_class(126)
    for number, row in enumerate(rows):
        row["group"] = f"object {number % 63}"
    assert audit(rows, "clusters").findings == ()  # 21 groups of two
    few = by_class(24)
    for number, row in enumerate(few):
        row["group"] = f"object {number}"
    assert audit(few, "clusters").findings == ()
    assert audit(by_class(), "clusters").measures["clusters"] == {}
