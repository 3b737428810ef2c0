"""From stored bytes to a raw value, by file extension, and the content id of those bytes.

A picture gives a PIL image, upright (16-bit depth keeps its depth), npy an array of native numbers, txt a string, json
what it says, a sound float32 of shape (time,) or, with several channels, (channel, time); see `formats` for all. Where
it bites: pickles are never loaded, and an image is decoded to its last row here, because PIL by itself reports a cut
file only at first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import check, parse_json, read_bytes
from pairalign.data.arrays import check_finite as check_finite
from pairalign.data.arrays import read_npy
from pairalign.data.captions import caption_key
from pairalign.data.formats import FORMATS, STORED, extension_of, known_extension
from pairalign.data.raster import read_picture
from pairalign.data.sound import read_sound, sound_rate
from pairalign.data.sources import read_source
from pairalign.data.video import VideoFrames, read_frames


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
    """A signal or picture from a file, as a shard would give it.

    Args:
        file: any that can be packed; of an archive of arrays `file.npz::name`. A video gives its frames.

    Returns:
        A PIL image, an array, a text, or what the kind of file holds.

    Raises:
        DataError: if it cannot be read.

    Example:
        >>> import tempfile, numpy, pairalign as pa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(f"{folder}/grip.npy", numpy.zeros((16, 100), "float32"))
        ...     pa.read_signal(f"{folder}/grip.npy").shape
        (16, 100)
    """
    name, _, member = str(file).partition("::")
    path = Path(name)
    if not path.is_file():
        raise DataError(f"file {str(file)!r} does not exist.")
    try:
        extension = known_extension(extension_of(path.name), f"file {path.name!r}")
        if FORMATS[extension].stored == "as it is":
            return decode(extension, read_bytes(path))
        if FORMATS[extension].stored == "frames":
            return {"frames": read_frames(path, VideoFrames()).pictures}
        return read_source(read_bytes(path), extension, member or None)
    except (DataError, OSError) as error:
        raise DataError(f"file {str(file)!r} cannot be read: {error}") from error


def content_id(extension: str, parts: Sequence[bytes]) -> int:
    """63-bit id of a field's stored bytes; of text, its caption without regard to case and white space."""
    digest = caption_digest if extension == "txt" else lambda data: hashlib.sha256(data).digest()
    return joined_id([digest(part) for part in parts])


def caption_digest(data: bytes) -> bytes:
    """SHA-256 of a text without regard to case, white space and Unicode's ways to write one character."""
    return hashlib.sha256(caption_key(data.decode("utf-8", "replace")).encode()).digest()


def joined_id(digests: Sequence[bytes]) -> int:
    """The content id of a field from the digests of its parts."""
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    return int.from_bytes(whole[:8], "little") >> 1


def wav_rate(data: bytes) -> float:
    """Sampling rate in Hz that a sound file states."""
    return sound_rate(data, "wav")


def _array(data: bytes) -> np.ndarray:
    value = read_npy(data)
    check_finite(value)
    return value


def _text(data: bytes) -> str:
    check("text", len(data), "the text")
    return data.decode("utf-8")


def _decoder(extension: str) -> Callable[[bytes], Any]:
    family = FORMATS[extension].family
    if family == "picture":
        return partial(read_picture, extension=extension)
    if family == "sound":
        return partial(read_sound, extension=extension)
    others: dict[str, Callable[[bytes], Any]] = {"array": _array, "text": _text, "json": parse_json}
    return others[family]


DECODERS: dict[str, Callable[[bytes], Any]] = {extension: _decoder(extension) for extension in STORED}
