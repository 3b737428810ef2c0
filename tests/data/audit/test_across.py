"""What one folder trains on and another tests is found, equal or nearly so, whatever it is called there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.audit import audit_several
from pairalign.data.pack import pack_pairs


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
    return coarse.resize((48, 48), Image.Resampling.BICUBIC)


def rows(seeds: range, first: int, **other: Any) -> Iterator[dict[str, Any]]:
    for n, seed in enumerate(seeds):
        split = "train" if n < first else "test"
        yield {
            "key": f"{n:03d}",
            "touch": picture(seed),
            "force": np.random.default_rng(seed + 999).normal(size=5),
            "split": split,
            **other,
        }


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Four of the second's twelve test samples are in the first's training; two of them were brightened."""
    pack_pairs(rows(range(40), 30), tmp_path / "one", progress=False)
    made = list(rows(range(100, 130), 18))
    for place, seed in ((20, 3), (21, 4), (22, 5), (23, 6)):
        shown = picture(seed)
        made[place]["touch"] = shown if seed < 5 else shown.point(lambda v: min(255, int(0.95 * v) + 3))
    pack_pairs(made, tmp_path / "two", progress=False)
    return [tmp_path / "one", tmp_path / "two"]


def test_leaks_between_folders_are_found(two: list[Path]) -> None:
    *each, across = audit_several(two, progress=False)
    assert [audit.folder for audit in each] == ["one", "two"]
    assert not [f for audit in each for f in audit.findings if f.check == "duplicates" and f.severity == "error"]
    found = {f.figures["how"]: f for f in across.findings}
    assert set(found["exactly"].keys) == {"two/020", "two/021"}
    assert found["exactly"].figures["splits"] == ["one:train", "two:test"]
    assert set(found["nearly"].keys) == {"two/022", "two/023"}
    pairs = {tuple(pair[:2]) for pair in found["nearly"].figures["pairs"]}
    assert pairs == {("two/022", "one/005"), ("two/023", "one/006")}


def test_the_command_takes_several_and_fails_on_a_leak(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    assert main(["data", "audit", *map(str, two), "--quiet", "--fail-on", "error", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "in split 'two:test'" in printed
    assert out.read_text().count('"folder"') == 3


def test_one_folder_twice_is_refused(two: list[Path]) -> None:
    with pytest.raises(DataError, match="name each folder once"):
        audit_several([two[0], two[0]], progress=False)
