"""`pairalign data pack` as a user types it, from a manifest to shards that read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairalign.cli.main import main
from pairalign.data.index import load_index
from pairalign.data.shards import read_samples


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        for name in ("photo", "gel", "bg"):
            pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}{i}.png")
        rows.append(
            {
                "id": f"o{i % 3}/{i}",
                "photo": f"photo{i}.png",
                "gel": [f"gel{i}.png", f"gel{(i + 1) % 12}.png"],
                "bg": f"bg{i}.png",
                "says": f"object {i}",
                "object": f"o{i % 3}",
                "split": "train" if i < 8 else "test",
                "set": "real" if i != 5 else "other",
            }
        )
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "m.jsonl"


def test_a_manifest_becomes_shards(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    words = (
        f"data pack {manifest} {out} --modality image=photo --modality touch=gel "
        "--modality touch.background=bg "
        "--modality text=says:text --column key=id --column group=object --where set=real --unit touch=1 "
        "--rate touch=30 --shard-samples 4 --licence CC0 --origin lab --synthetic --quiet"
    )
    assert main(words.split()) == 0
    index = load_index(out)
    assert {name: split.count for name, split in index.splits.items()} == {"train": 7, "test": 4}
    assert (index.licence, index.source, index.synthetic) == ("CC0", "lab", True)
    assert (index.modalities["touch"].unit, index.modalities["touch"].rate) == ("1", 30.0)
    first = next(read_samples(out, "test", ["image", "touch", "text"]))
    number = int(first.key.split("/")[1])
    assert first.meta["group"] == f"o{number % 3}"
    assert first.values["text"] == f"object {number}"
    wanted = np.asarray(Image.open(tmp_path / f"gel{(number + 1) % 12}.png"))
    np.testing.assert_array_equal(np.asarray(first.values["touch"]["frames"][1]), wanted)
    printed = capsys.readouterr().out
    assert "7 samples" in printed
    assert "next: pairalign data audit" in printed


def test_shares_split_and_bad_rows_are_listed(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo3.png").unlink()
    words = f"data pack {manifest} {tmp_path / 'out'} --modality photo --quiet --split a=0.5,b=0.5"
    assert main(words.split()) == 2
    assert "line 4, column 'photo': file 'photo3.png' does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words.split(), "--skip-bad", "--column", "key=id"]) == 0
    assert "skipped o0/3: " in capsys.readouterr().out
    assert sum(split.count for split in load_index(tmp_path / "out").splits.values()) == 11


def test_axes_and_the_one_that_is_up_are_recorded(tmp_path: Path) -> None:
    rows = []
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).standard_normal((3, 6)))
        rows.append({"points": f"{i}.npy", "text": f"a cup {i}"})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = f"data pack {tmp_path / 'm.jsonl'} {tmp_path / 'out'} --axes points=xyz,point --up points=-y --quiet"
    assert main(words.split()) == 0
    info = load_index(tmp_path / "out").modalities["points"]
    assert (info.axes, info.up, info.shape) == (("xyz", "point"), "-y", (3, 6))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--modality photos", "Did you mean 'photo'"),
        ("--modality =photo", "write it as NAME=VALUE"),
        ("--column key", "write it as NAME=VALUE"),
        ("--modality photo --rate photo=fast", "'fast' is no number"),
        ("--modality photo --axes photo", "--axes 'photo': write it as MODALITY=VALUE"),
        ("--modality photo --up photo=sky", "up='sky': give the axis that points up"),
        ("--modality photo --split a=x", "'x' is no number"),
        ("--modality photo --shard-samples 0", "shard_samples=0"),
    ],
)
def test_a_mistake_is_one_line(
    words: str, said: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "pack", str(manifest), str(tmp_path / "out"), "--quiet", *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
