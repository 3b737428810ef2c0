"""Each check finds the fault that was planted, by key, and says nothing about healthy data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.core.errors import DataError, StorageError
from pairalign.data.audit import CHECKS, Audit, audit_pairs
from pairalign.data.audit.swapped import exchanged_sides
from pairalign.data.pack import pack_pairs

COUNT, SIDE = 80, 32
OBJECTS = ("mug", "ball", "fork", "sponge")
Rows = list[dict[str, Any]]


def smooth(rng: np.random.Generator, cells: int, depth: float) -> np.ndarray:
    """A coarse random picture (SIDE, SIDE, 3) around mid-grey."""
    coarse = rng.normal(0, depth, (cells, cells, 3))
    return np.kron(coarse, np.ones((SIDE // cells, SIDE // cells, 1))) + 128


def photo(rng: np.random.Generator) -> np.ndarray:
    return (smooth(rng, 4, 60) + rng.normal(0, 8, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


def gel(rng: np.random.Generator) -> np.ndarray:
    """A bump with coloured slopes on an even ground."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - rng.uniform(0.3, 0.7, 2)[:, None, None]
    bump = np.exp(-(x**2 + y**2) / 0.02)[..., None]
    slopes = np.stack([x, y, -x - y], -1) * 900 * bump
    return (130 + slopes + rng.normal(0, 2, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


def cloud(rng: np.random.Generator) -> np.ndarray:
    """Points on an ellipsoid with lumps of its own."""
    direction = rng.normal(0, 1, (256, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lumps = sum(0.25 * np.sin(direction @ rng.normal(0, 3, 3) + rng.uniform(0, 6)) for _ in range(4))
    points: np.ndarray = direction * rng.uniform(0.4, 1.0, 3) * (1 + lumps)[:, None]
    return points.astype(np.float32)


def healthy(seed: int = 0) -> Rows:
    """Pairs with nothing wrong: own values everywhere, own captions, groups on one side of the split."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(COUNT):
        split = "test" if number % 4 == 3 else "train"
        label = OBJECTS[rng.integers(4)]
        rows.append(
            {
                "key": f"s{number:03d}",
                "image": photo(rng),
                "touch": gel(rng),
                "points": cloud(rng),
                "text": f"touch number {number} of a {label}",
                "label": label,
                "group": f"{split}-{number % 8}",
                "split": split,
            }
        )
    return rows


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., Audit]:
    def run(rows: Rows, *checks: str, **options: Any) -> Audit:
        pack_pairs(rows, tmp_path / "shards", overwrite=True, progress=False, **options)
        return audit_pairs(tmp_path / "shards", checks=checks or None, progress=False)

    return run


def test_healthy_data_has_no_findings(audit: Callable[..., Audit]) -> None:
    rows = healthy()
    for number, row in enumerate(rows):
        row["group"] = f"{row['split']}-{number}"  # four groups to test on would be few
    found = audit(rows)
    assert found.findings == ()
    assert found.counts == {"train": 60, "test": 20}
    assert found.kinds == {"image": "image", "touch": "image", "points": "points", "text": "text"}
    assert "nothing found" in found.text()


def test_a_value_on_both_sides_of_the_split(audit: Callable[..., Audit]) -> None:
    rows = healthy()
    rows[3]["touch"], rows[7]["touch"] = rows[0]["touch"], rows[1]["touch"]
    (finding,) = audit(rows, "duplicates").findings
    assert finding.severity == "error"
    assert set(finding.keys) == {"s003", "s007"}
    assert "exactly" in finding.message


def test_nearly_the_same_value_on_both_sides(audit: Callable[..., Audit]) -> None:
    rows, rng = healthy(), np.random.default_rng(5)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    rows[3]["points"] = (rng.permutation(rows[0]["points"]) @ turn + rng.normal(0, 2e-3, (256, 3))).astype(np.float32)
    rows[11]["image"] = (rows[4]["image"] * 0.9 + rng.normal(0, 2, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    found = {finding.figures["modality"]: finding for finding in audit(rows, "duplicates").findings}
    assert found["points"].keys == ("s003",)
    assert found["image"].keys == ("s011",)
    assert all("nearly" in one.message and one.severity == "error" for one in found.values())


def test_things_of_one_form_are_no_copies(audit: Callable[..., Audit]) -> None:
    """Two balls, and two surfaces of one weave: alike at a glance, though every raw value is another."""
    rows, rng = healthy(), np.random.default_rng(6)
    ball = rng.normal(0, 1, (2, 600, 3))
    ball *= np.array([0.03, 0.05])[:, None, None] / np.linalg.norm(ball, axis=2, keepdims=True)
    ground = np.kron(smooth(rng, 4, 60), np.ones((4, 4, 1)))
    for row, points in zip((rows[0], rows[3]), ball, strict=True):
        row["points"] = points.astype(np.float32)
        row["image"] = (ground + rng.normal(0, 12, ground.shape)).clip(0, 255).astype(np.uint8)
    found = {finding.figures["modality"]: finding for finding in audit(rows, "duplicates").findings}
    assert {name: finding.severity for name, finding in found.items()} == {"points": "warning", "image": "warning"}
    assert all(finding.keys == ("s003",) for finding in found.values())
    assert "raw values are others" in found["points"].message


def test_questions_and_answers_may_repeat(audit: Callable[..., Audit]) -> None:
    rows = [{**row, "question": "is it soft?", "answer": "no"} for row in healthy()]
    found = audit(rows, "captions").findings
    assert {finding.figures["modality"] for finding in found} == {"question", "answer"}
    assert {finding.severity for finding in found} == {"note"}


def test_captions_that_repeat_and_captions_that_say_nothing(audit: Callable[..., Audit]) -> None:
    rows = healthy()
    for row in rows:
        row["text"] = f"a {row['label']}"
    rows[5]["text"] = "nan"
    found = audit(rows, "captions").findings
    repeats = [f for f in found if f.severity == "warning"]
    (empty,) = [f for f in found if f.severity == "error"]
    assert empty.keys == ("s005",)
    assert {f.figures["split"] for f in repeats} == {"train", "test"}
    assert all(f.figures["distinct"] <= 5 for f in repeats)


@pytest.mark.parametrize("count", [1, 8, 30])
def test_exchanged_columns_are_named_by_key(audit: Callable[..., Audit], count: int) -> None:
    rows = healthy()
    planted = {row["key"] for row in rows[10 : 10 + count]}
    for row in rows[10 : 10 + count]:
        row["image"], row["touch"] = row["touch"], row["image"]
    (finding,) = audit(rows, "swapped").findings
    assert set(finding.keys) == planted  # precision and recall of 1 on sides this different


def test_columns_of_one_camera_are_not_guessed_at(audit: Callable[..., Audit]) -> None:
    rows, rng = healthy(), np.random.default_rng(1)
    for row in rows:
        row["touch"] = photo(rng)
    found = audit(rows, "swapped")
    assert found.findings == ()
    assert found.measures["swapped"]["image, touch"]["told apart"] is False


def test_the_separation_of_sides_agrees_with_the_truth() -> None:
    rng = np.random.default_rng(0)
    cues = rng.normal(0, 1, (200, 2, 6))
    cues[:, 1, :3] += 3.0
    planted = np.zeros(200, bool)
    planted[::9] = True
    cues[planted] = cues[planted][:, ::-1]
    found = exchanged_sides(cues, np.arange(200) % 8)
    assert found.distinct
    assert (found.exchanged == planted).all()


def test_blank_faint_and_damaged_signals(audit: Callable[..., Audit]) -> None:
    rows, rng = healthy(), np.random.default_rng(2)
    rows[2]["touch"] = np.full((SIDE, SIDE, 3), 130, np.uint8)
    rows[6]["touch"] = np.full((SIDE, SIDE, 3), 130, np.uint8)
    rows[6]["touch"][4, 5] = 131
    rows[9]["image"] = np.where(rng.random((SIDE, SIDE, 1)) < 0.7, 255, rows[9]["image"]).astype(np.uint8)
    found = audit(rows, "blank", allow_constant=["touch"]).findings
    assert {(f.severity, f.keys) for f in found} == {
        ("error", ("s002",)),
        ("warning", ("s006",)),
        ("warning", ("s009",)),
    }


def test_a_group_on_both_sides(audit: Callable[..., Audit]) -> None:
    rows = healthy()
    rows[3]["group"] = rows[0]["group"]
    (finding,) = audit(rows, "groups").findings
    assert finding.severity == "error"
    assert finding.keys == ("s003",)
    assert finding.figures["shared"] == [rows[0]["group"]]


def test_a_background_that_names_the_label(audit: Callable[..., Audit]) -> None:
    rng = np.random.default_rng(3)
    gels = {name: smooth(rng, 2, 25) for name in OBJECTS}
    rows = healthy()
    for row in rows:
        ground = (gels[row["label"]] + rng.normal(0, 2, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        row["touch"] = {"value": row["touch"], "background": ground}
    (finding,) = audit(rows, "leak").findings
    assert finding.severity == "error"
    assert "background" in finding.message
    assert len(finding.keys) >= 18  # of 20 test rows
    for row in rows:  # the same grounds, dealt out at random, name nothing
        row["touch"]["background"] = (gels[OBJECTS[rng.integers(4)]] + rng.normal(0, 2, (SIDE, SIDE, 3))).clip(0, 255)
        row["touch"]["background"] = row["touch"]["background"].astype(np.uint8)
    assert audit(rows, "leak").findings == ()


def test_the_same_seed_gives_the_same_audit_and_the_file_holds_all_of_it(
    audit: Callable[..., Audit], tmp_path: Path
) -> None:
    rows = healthy()
    rows[3]["touch"] = rows[0]["touch"]
    one, two = audit(rows), audit(rows)
    assert one == two
    one.write(tmp_path / "audit.json")
    written = json.loads((tmp_path / "audit.json").read_text())
    assert written["checks"] == list(CHECKS)
    assert written["findings"][0]["keys"] == ["s003"]
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    with pytest.raises(StorageError, match="cannot be written"):
        one.write(tmp_path / "audit.json" / "audit.json")


def test_what_cannot_be_audited_is_refused(audit: Callable[..., Audit], tmp_path: Path) -> None:
    rows = healthy()[:8]
    with pytest.raises(DataError, match="Did you mean 'swapped'"):
        audit(rows, "swaped")
    with pytest.raises(DataError, match="limit=0"):
        audit_pairs(tmp_path / "shards", limit=0)
    with pytest.raises(DataError, match="no_such"):
        audit_pairs(tmp_path / "no_such")
    with pytest.raises(DataError, match="Did you mean 'train'"):
        audit_pairs(tmp_path / "shards", splits=["trian"])
