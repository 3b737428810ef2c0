"""From stored bytes to a raw value, by file extension, and the content id of those bytes.

jpg, jpeg, png, pgm give a PIL image (16-bit depth keeps its depth), npy an array, txt a string, json what it
says, wav float32 in [-1, 1] of shape (time,) or, with several channels, (channel, time). Where it bites:
pickles are never loaded, and an image is decoded to its last row here, because PIL by itself reports a cut
file only at first use.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean

_WAV_SCALE = {1: 128.0, 2: 32768.0, 3: 8388608.0, 4: 2147483648.0}


def decode(extension: str, data: bytes) -> Any:
    """Decode one stored field; raise `DataError` with the reason if the bytes are not what the extension
    says.
    """
    decoder = DECODERS.get(extension)
    if decoder is None:
        raise DataError(f"extension {extension!r} has no decoder.{did_you_mean(extension, DECODERS)}")
    try:
        return decoder(data)
    except DataError:
        raise
    except Exception as error:  # PIL, numpy, wave and json raise a dozen kinds for damaged bytes
        raise DataError(f"the bytes are no valid {extension} ({len(data)} bytes: {error}).") from error


def read_signal(file: str | Path) -> Any:
    """A signal or picture from a file, by its extension as in shards; raise `DataError` if it cannot be read."""
    path = Path(file)
    if not path.is_file():
        raise DataError(f"file {str(file)!r} does not exist.")
    try:
        return decode(path.suffix.removeprefix(".").lower(), path.read_bytes())
    except (DataError, OSError) as error:
        raise DataError(f"file {str(file)!r} cannot be read: {error}") from error


def check_finite(value: Any) -> None:
    """Raise `DataError` if a decoded array holds NaN or infinity."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise DataError(f"holds NaN or infinity in {int((~np.isfinite(value)).sum())} of {value.size} values.")


def content_id(extension: str, parts: Sequence[bytes]) -> int:
    """63-bit id of a field's stored bytes; of text, its caption without regard to case and white space."""
    digest = caption_digest if extension == "txt" else lambda data: hashlib.sha256(data).digest()
    return joined_id([digest(part) for part in parts])


def caption_digest(data: bytes) -> bytes:
    """SHA-256 of a text without regard to case and white space."""
    return hashlib.sha256(" ".join(data.decode("utf-8", "replace").casefold().split()).encode()).digest()


def joined_id(digests: Sequence[bytes]) -> int:
    """The content id of a field from the digests of its parts."""
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    return int.from_bytes(whole[:8], "little") >> 1


def _image(data: bytes) -> Any:
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    value = np.lib.format.read_array(stream, allow_pickle=False)
    check_finite(value)
    return value


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _wav(data: bytes) -> np.ndarray:
    import wave

    with wave.open(io.BytesIO(data)) as stream:
        width, channels, frames = stream.getsampwidth(), stream.getnchannels(), stream.getnframes()
        raw = stream.readframes(frames)
    if len(raw) != frames * width * channels or not frames:
        raise DataError(f"the wav header promises {frames} frames, {len(raw) // (width * channels)} are there.")
    value = _pcm(raw, width).reshape(-1, channels).T / np.float32(_WAV_SCALE[width])
    return np.ascontiguousarray(value[0] if channels == 1 else value)


def _pcm(raw: bytes, width: int) -> np.ndarray:
    """Little-endian PCM as float32 integers; 8-bit is unsigned, all else is signed."""
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0
    if width == 3:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return (padded.view("<i4")[:, 0] >> 8).astype(np.float32)
    return np.frombuffer(raw, {2: "<i2", 4: "<i4"}[width]).astype(np.float32)


def wav_rate(data: bytes) -> float:
    """Sampling rate in Hz that a wav file states."""
    import wave

    with wave.open(io.BytesIO(data)) as stream:
        return float(stream.getframerate())


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "jpg": _image,
    "jpeg": _image,
    "png": _image,
    "pgm": _image,
    "npy": _array,
    "txt": _text,
    "json": json.loads,
    "wav": _wav,
}
