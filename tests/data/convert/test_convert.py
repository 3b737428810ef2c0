"""What every conversion keeps: bytes, order, split sets, reports, and clear words for wrong input."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import convert, picture, read_back, recordings
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert import known_formats
from pairalign.data.convert.dataset_format import MODULES
from pairalign.data.convert.group_splits import split_by_group
from pairalign.data.convert.spool import Spool
from pairalign.data.index import load_index


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def test_workers_and_runs_do_not_change_a_bit_and_the_seed_does(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 6, 4)
    convert("touch-and-go", home, tmp_path / "a", shard_samples=3)
    convert("touch-and-go", home, tmp_path / "b", shard_samples=3, workers=2)
    convert("touch-and-go", home, tmp_path / "c", shard_samples=3, seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    index = load_index(tmp_path / "a")
    assert index.modalities["touch"].sensor == "GelSight"
    for parts in index.split_sets.values():  # each split set is of all samples
        assert sum(part.count for part in parts.values()) == 24


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 10, 4, (120, 160))
    convert("touch-and-go", home, tmp_path / "whole", shard_samples=2)
    command = [sys.executable, "-m", "pairalign", "data", "convert", "touch-and-go", home, "-o", tmp_path / "out",
               "--shard-samples", "2", "--quiet"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "out").glob("*.tar"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "index.json").exists()
    convert("touch-and-go", home, tmp_path / "out", shard_samples=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_report_counts_duplicates(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 3, 3)
    frames = sorted((home / "dataset").glob("*/gelsight_frame/*.jpg"))
    for frame in frames[1:3]:
        frame.write_bytes(frames[0].read_bytes())
    done = convert("touch-and-go", home, tmp_path / "out")
    assert done.report["duplicates"] == {"touch": 2}
    assert json.loads((tmp_path / "out" / "conversion.json").read_text()) == done.report
    assert "doubled       2  touch" in done.text()


def test_images_are_reduced_only_when_asked_and_only_if_larger(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 3, 2, (40, 60))
    small = sorted((home / "dataset").glob("*/video_frame/*.jpg"))[0]
    picture(small, 0, (10, 20))
    convert("touch-and-go", home, tmp_path / "out", resize=20)
    found = read_back(tmp_path / "out")
    sizes = Counter(sample.values["image"].size for sample in found.values())
    assert sizes == {(30, 20): 5, (20, 10): 1}
    assert small.read_bytes() in b"".join(p.read_bytes() for p in (tmp_path / "out").glob("*.tar"))


def test_a_limit_takes_the_first_and_strict_stops(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 3, 2)
    assert convert("touch-and-go", home, tmp_path / "few", limit=4).report["converted"] == 4
    sorted((home / "dataset").glob("*/video_frame/*.jpg"))[0].unlink()
    with pytest.raises(DataError, match="missing image file"):
        convert("touch-and-go", home, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_wrong_input_is_named_before_anything_is_written(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 2, 2)
    cases = [
        ({"name": "touch-and-gone"}, "Did you mean 'touch-and-go'"),
        ({"options": {"txt": "x"}}, "has no option 'txt'. Did you mean 'text'"),
        ({"options": {"text": 3}}, "give text"),
        ({"limit": 0}, "limit=0"),
        ({"resize": 2}, "resize=2"),
        ({"name": "tvl"}, "is no tvl: it lacks .*This looks like touch-and-go"),
        ({"folder": tmp_path / "none"}, "does not exist"),
    ]
    for change, words in cases:
        arguments = {"name": "touch-and-go", "folder": home, "out": tmp_path / "out"} | change
        with pytest.raises(DataError, match=words):
            convert(**arguments)  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()
    convert("touch-and-go", home, tmp_path / "out")
    with pytest.raises(DataError, match="already holds a finished pack"):
        convert("touch-and-go", home, tmp_path / "out")


def test_nothing_left_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 1, 1)
    next((home / "dataset").glob("*/video_frame/*.jpg")).unlink()
    with pytest.raises(DataError, match=r"no sample of touch-and-go is left to convert\..*missing image"):
        convert("touch-and-go", home, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_help_lists_every_layout_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "convert", "--help"])
    text = capsys.readouterr().out
    for name, form in known_formats().items():
        assert f"  {name}" in text
        assert form.title in text
        for field in (form.source, form.licence):
            assert field
    assert set(known_formats()) == set(MODULES)
    assert "trust_pickles=False" in text


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 3))
def test_groups_stay_whole_and_no_split_is_empty_without_need(sizes: dict[str, int], seed: int) -> None:
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    found = split_by_group(sizes, shares, seed)
    assert found.keys() == sizes.keys()
    assert len(set(found.values())) == min(3, len(sizes))
    assert found == split_by_group(dict(reversed(sizes.items())), shares, seed)
    filled = {split: sum(sizes[g] for g in sizes if found[g] == split) for split in shares}
    for split, share in shares.items():  # off by a group at most, where there are groups enough
        if len(sizes) > 20:
            assert abs(filled[split] - share * sum(sizes.values())) <= 2 * max(sizes.values())


def test_a_spool_gives_every_sample_again_in_the_order_of_its_seed(tmp_path: Path) -> None:
    samples = [{"key": i, "path": tmp_path / str(i)} for i in range(50)]
    spool, other = Spool(samples, tmp_path, 3), Spool(samples, tmp_path, None)
    first = list(spool)
    assert first == list(spool)
    assert sorted(s["key"] for s in first) == list(range(50))
    assert [s["key"] for s in first] != list(range(50))
    assert list(other) == samples
    assert not [p for p in tmp_path.iterdir()]
    spool.close()


def test_a_picture_stays_what_it_was(tmp_path: Path) -> None:
    home = recordings(tmp_path / "tag", 2, 2)
    convert("touch-and-go", home, tmp_path / "out")
    for key, sample in read_back(tmp_path / "out").items():
        recording, frame = key.split("/")
        stored = Image.open(home / "dataset" / recording / "gelsight_frame" / f"{frame}.jpg")
        np.testing.assert_array_equal(np.asarray(sample.values["touch"]), np.asarray(stored))
