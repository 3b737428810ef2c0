"""Reading a sound file: WAV of whole numbers and floats by itself, every other kind by soundfile (extra `audio`).

Note:
    Whole numbers are scaled to [-1, 1], floats are taken as they are, which may be louder; the chunks of a WAV are
    walked here because Python's own `wave` calls a file of floats, or one with the extensible header that ffmpeg and
    most recorders write, damaged.
"""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check

_SCALE = {8: 128.0, 16: 32768.0, 24: 8388608.0, 32: 2147483648.0}
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_OPEN_END = 0xFFFFFFFF  # written to a pipe, whose end nobody knew


class Wav(NamedTuple):
    """What a WAV says of itself. form: 1 whole numbers, 3 floats. bits: of one value."""

    form: int
    channels: int
    rate: float
    bits: int
    data: bytes


class _Stream(io.BytesIO):
    """Bytes in which a damaged sound may ask for a place that does not exist: it is told so, and nothing is raised."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return -1


def read_sound(data: bytes, extension: str) -> np.ndarray:
    """float32 (time,), or (channel, time) of several channels; raise `DataError` for what cannot be read."""
    wav = _parse(data) if extension == "wav" and data[:4] == b"RIFF" else None
    if wav is None or (wav.form, wav.bits) not in {*((_PCM, bits) for bits in _SCALE), (_FLOAT, 32), (_FLOAT, 64)}:
        value = _by_soundfile(data, extension)
    else:
        frames = len(wav.data) * 8 // (wav.bits * wav.channels)
        _check_length(frames, wav.channels, wav.rate)
        value = _values(wav).reshape(-1, wav.channels)
    if not np.isfinite(value).all():
        raise DataError(f"holds NaN or infinity in {int((~np.isfinite(value)).sum())} of {value.size} values.")
    return np.ascontiguousarray(value[:, 0] if value.shape[1] == 1 else value.T)


def sound_rate(data: bytes, extension: str) -> float:
    """Sampling rate in Hz that the file states."""
    if extension == "wav" and data[:4] == b"RIFF":
        return _parse(data).rate
    return float(_open(data, extension).samplerate)


def _parse(data: bytes) -> Wav:
    """The format and the values of a WAV, by its chunks."""
    found: dict[bytes, tuple[int, bytes]] = {}
    at = 12
    while at + 8 <= len(data) and b"data" not in found:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        size = len(data) - at - 8 if size == _OPEN_END else size
        found[name] = (size, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    if data[8:12] != b"WAVE" or b"fmt " not in found or b"data" not in found or len(found[b"fmt "][1]) < 16:
        raise DataError(f"the bytes are no valid wav ({len(data)} bytes: no format or no data in it).")
    head, (promised, raw) = found[b"fmt "][1], found[b"data"]
    form, channels, rate, _, width, bits = struct.unpack("<HHIIHH", head[:16])
    if form == _EXTENSIBLE and len(head) >= 26:
        form = int.from_bytes(head[24:26], "little")
    if promised > len(raw) or not raw:
        whole = max(width, 1)
        raise DataError(f"the wav header promises {promised // whole} frames, {len(raw) // whole} are there.")
    if not channels or not rate or not width or (form in (_PCM, _FLOAT) and width != channels * bits // 8):
        raise DataError(f"no valid wav: {channels} channels of {bits} bits at {rate} Hz in {width} bytes a frame.")
    return Wav(form, channels, float(rate), bits, raw[: len(raw) // width * width])


def _values(wav: Wav) -> np.ndarray:
    """float32 in reading order; 8 bits are unsigned, all else is signed."""
    if wav.form == _FLOAT:
        return np.frombuffer(wav.data, f"<f{wav.bits // 8}").astype(np.float32)
    if wav.bits == 8:
        whole = np.frombuffer(wav.data, np.uint8).astype(np.float32) - 128.0
    elif wav.bits == 24:
        padded = np.zeros((len(wav.data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(wav.data, np.uint8).reshape(-1, 3)
        whole = (padded.view("<i4")[:, 0] >> 8).astype(np.float32)
    else:
        whole = np.frombuffer(wav.data, f"<i{wav.bits // 8}").astype(np.float32)
    whole /= np.float32(_SCALE[wav.bits])  # in place: a second copy of an hour is a gigabyte
    return whole


def _check_length(frames: int, channels: int, rate: float) -> None:
    """Raise `DataError` for a sound that is too long to be unpacked."""
    check("values", frames * channels, "the sound")
    check("seconds", frames / rate if rate else 0, "the sound")


def _by_soundfile(data: bytes, extension: str) -> np.ndarray:
    with _open(data, extension) as stream:
        _check_length(stream.frames, stream.channels, stream.samplerate)
        value = stream.read(dtype="float32", always_2d=True)
        if len(value) != stream.frames or not len(value):
            raise DataError(f"the header promises {stream.frames} frames, {len(value)} are there.")
    return value


def _open(data: bytes, extension: str) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library is missing
        raise DataError(
            f"this kind of {extension} is not supported without the package soundfile: "
            "pip install 'pairalign[audio]', or convert it to WAV of whole numbers or floats."
        ) from error
    try:
        return soundfile.SoundFile(_Stream(data))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise DataError(f"the bytes are no valid {extension} ({len(data)} bytes: {error}).") from error
