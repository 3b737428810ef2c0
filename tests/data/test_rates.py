"""One sound of another rate is found and named before anything is written."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.pack import pack_pairs
from pairalign.data.rates import header_rate


def sound(path: Path, rate: int) -> Path:
    if path.suffix == ".wav":
        with wave.open(str(path), "wb") as stream:
            stream.setparams((1, 2, rate, 0, "NONE", ""))
            stream.writeframes(bytes(range(100)))
    else:
        pytest.importorskip("soundfile").write(path, np.sin(np.arange(800.0)), rate)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    rates = [16000, 44100, 16000, 16000, 8000]
    return [
        {"key": f"k{i}", "hit": sound(tmp_path / f"{i}.wav", rate), "text": f"t{i}"} for i, rate in enumerate(rates)
    ]


def test_it_ends_the_pack_before_it_began(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    words = r"sample 'k1': hit: file '1\.wav' states 44100 Hz, 3 of 5 sounds 16000 Hz: resample it.* So are 1 more"
    with pytest.raises(DataError, match=words):
        pack_pairs(rows, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_it_is_left_out_and_named_on_request(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    index = pack_pairs(rows, tmp_path / "out", progress=False, on_bad="skip")
    assert [key for key, _ in index.skipped] == ["k1", "k4"]
    assert index.modalities["hit"].rate == 16000


def test_the_rate_that_is_said_is_the_one_that_is_meant(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    units = {"hit": {"rate": 44100.0}}
    with pytest.raises(DataError, match=r"sample 'k0': .* 16000 Hz, units say 44100"):
        pack_pairs(rows, tmp_path / "a", progress=False, units=units)
    index = pack_pairs(rows, tmp_path / "b", progress=False, units=units, on_bad="skip")
    assert index.splits["train"].count == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_header_states_its_rate(name: str, tmp_path: Path) -> None:
    assert header_rate(sound(tmp_path / name, 22050)) == 22050
    (tmp_path / name).write_bytes(b"RIFF0000WAVEjunk")
    assert header_rate(tmp_path / name) is None
