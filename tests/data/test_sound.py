"""Sounds of every kind against soundfile, which wrote them, or against values written by hand."""

from __future__ import annotations

import builtins
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.core.errors import DataError
from pairalign.data.decode import decode
from pairalign.data.kinds import kind_of
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples
from pairalign.data.sound import read_sound, sound_rate

soundfile = pytest.importorskip("soundfile")
WAVE = (np.random.default_rng(0).standard_normal((1600, 2)) * 0.1).clip(-1, 1)


def written(kind: str, subtype: str | None = None, rate: int = 16000, wave: np.ndarray = WAVE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format=kind, subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("subtype", "off"),
    [("PCM_U8", 0.01), ("PCM_16", 1e-4), ("PCM_24", 1e-6), ("PCM_32", 1e-6), ("FLOAT", 1e-7), ("DOUBLE", 1e-7),
     ("ULAW", 0.01), ("ALAW", 0.01), ("IMA_ADPCM", 0.3)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_every_kind_of_wav(kind: str, subtype: str, off: float) -> None:
    if not soundfile.check_format(kind, subtype):
        pytest.skip("no such kind")
    data = written(kind, subtype)
    value = decode("wav", data)
    assert (value.dtype, value.shape[0]) == (np.float32, 2)
    np.testing.assert_allclose(value[:, :1600], WAVE.T, atol=off)
    assert sound_rate(data, "wav") == 16000


@pytest.mark.parametrize(
    ("kind", "extension", "off"),
    [("FLAC", "flac", 1e-4), ("OGG", "ogg", 0.2), ("MP3", "mp3", 0.5), ("AIFF", "aiff", 1e-4)],
)
def test_other_sounds_are_kept_as_they_are_and_read(tmp_path: Path, kind: str, extension: str, off: float) -> None:
    if kind not in soundfile.available_formats():
        pytest.skip("not in this build of libsndfile")
    for n in range(2):
        (tmp_path / f"{n}.{extension}").write_bytes(written(kind, rate=22050, wave=WAVE[: 1600 - n, 0]))
    rows = [{"key": str(n), "sound": tmp_path / f"{n}.{extension}", "text": f"knock {n}"} for n in range(2)]
    index = pack_pairs(rows, tmp_path / "out", progress=False)
    assert (index.modalities["sound"].ext, index.modalities["sound"].rate) == ((extension,), 22050)
    value = next(iter(read_samples(tmp_path / "out", "train", ["sound"]))).values["sound"]
    assert kind_of(value, index.modalities["sound"]) == "series"
    if off < 0.01:
        np.testing.assert_allclose(value, WAVE[: len(value), 0], atol=off)


def test_a_wav_written_to_a_pipe_has_no_length(tmp_path: Path) -> None:
    head = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    data = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + head + b"data\xff\xff\xff\xff" + np.int16([1, -2, 3]).tobytes()
    np.testing.assert_allclose(decode("wav", data) * 32768, [1, -2, 3])


def test_chunks_before_the_data_are_passed_over() -> None:
    data = written("WAV", "PCM_16")
    at = data.index(b"data")
    value = decode("wav", data[:at] + b"LIST\x03\0\0\0abc\0" + data[at:])
    np.testing.assert_array_equal(value, decode("wav", data))


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg"])
def test_bytes_that_are_no_sound_are_named(extension: str) -> None:
    with pytest.raises(DataError, match=f"no valid {extension}"):
        decode(extension, b"this is no sound at all, only words")


@given(st.binary(max_size=60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_damaged_wavs_raise_nothing_else(noise: bytes, at: int) -> None:
    whole = written("WAV", "PCM_16", wave=WAVE[:4])
    for data in (whole[:at], whole[:at] + noise, whole[:at] + noise + whole[at + len(noise) :]):
        try:
            read_sound(data, "wav")
        except DataError:
            continue


def test_infinite_values_are_refused() -> None:
    wave = np.array([0.0, np.inf, 0.5])
    with pytest.raises(DataError, match="NaN or infinity in 1 of 3"):
        decode("wav", written("WAV", "FLOAT", wave=wave))


def test_without_soundfile_wav_is_read_and_the_rest_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    flac, floats = written("FLAC"), written("WAV", "FLOAT")
    load = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return load(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert decode("wav", floats).shape == (2, 1600)
    with pytest.raises(DataError, match=r"not supported.*pip install 'pairalign\[audio\]'"):
        decode("flac", flac)
