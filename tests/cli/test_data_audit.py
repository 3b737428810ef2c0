"""`pairalign data audit` where it cannot do what was asked: exit code 2, one line, and no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairalign.cli.main import main
from pairalign.data.pack import pack_pairs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [{"key": f"k{n}", "force": rng.normal(0, 1, 8), "text": f"touch {n}"} for n in range(6)]
    pack_pairs(rows, tmp_path / "shards", split="train", progress=False)
    return tmp_path / "shards"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "0"], "limit=0"),
        (["--check", "leek"], "Did you mean 'leak'"),
        (["--out", "{tmp}/shards/index.json/audit.json"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = [word.format(tmp=tmp_path) for word in words]
    assert main(["data", "audit", str(folder), "--quiet", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_truncated_shard_is_an_error_not_a_clean_audit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = folder.glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:2048])
    assert main(["data", "audit", str(folder), "--quiet"]) == 2
    assert "truncated" in capsys.readouterr().err


def test_a_level_that_does_not_exist_is_refused_with_the_usage(folder: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["data", "audit", str(folder), "--fail-on", "fatal"])
    assert left.value.code == 2
