"""Tell that a JPEG is whole without decoding it, where one with the same tables has been decoded before.

A recording's files share their size, tables and colour format; what is left of each is one run of coded blocks. It is
whole if no marker interrupts it and the end marker closes it.

Note:
    Wrong codes inside that run go unseen, and libjpeg, too, only warns of them. Whatever is not as usual (progressive,
    restart markers, bytes after the end) and whatever is as small as a picture of one colour, or turned by its EXIF
    data, is left to the decoder.

    Decoding every picture instead takes 5.2 times as long to pack (1,000 pairs of `bench/pack.py` of 320 × 240, one
    process, /dev/shm, median of 5 pairs of runs; 5.4 times the processor's time).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from pairalign.data.raster import ORIENTATION

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = (0xC0, 0xC1)  # baseline and extended, both coded by Huffman tables in one scan
_TABLES, _SCAN = 0xC4, 0xDA
_EXIF = 0xE1
_FREE = (_EXIF, 0xFE)  # EXIF and comments: they differ from file to file and decide no pixel
_MARKER = re.compile(rb"\xff[^\x00]")
_REMEMBERED = 64


class Known(NamedTuple):
    """What is known of every picture with one header. flat: bytes that one of a single colour may take at most."""

    shape: tuple[int, ...]
    flat: int


class WholeJpegs:
    """Headers of JPEGs that were decoded; `shape` knows files that need not be."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def shape(self, data: bytes) -> tuple[int, ...] | None:
        """(height, width) or (height, width, 3) of a whole picture of more than one colour; None: decode it."""
        header, at = _header(data)
        known = self._known.get(_identity(header))
        if known is None or _turned(header) or not data.endswith(_END) or len(data) - at <= known.flat:
            return None
        marker = _MARKER.search(data, at)
        return known.shape if marker is not None and marker.start() == len(data) - len(_END) else None

    def learn(self, data: bytes, shape: tuple[int, ...]) -> None:
        """Remember the header of a picture that was decoded to an array of this shape."""
        header, _ = _header(data)
        frame = next((segment[3:] for segment in header if segment[0] in _FRAMES), b"")
        if len(frame) >= 9 and not _turned(header):
            if len(self._known) >= _REMEMBERED:  # tables fitted to each file: nothing to be gained
                self._known.clear()
            bits = sum(_longest_zeros(segment[3:] for segment in header if segment[0] == _TABLES))
            self._known[_identity(header)] = Known(shape, _flat(frame, bits))


def _header(data: bytes) -> tuple[list[bytes], int]:
    """Segments before the coded blocks (code, two bytes of length, content), and where these start; none of what is no
    JPEG.
    """
    found: list[bytes] = []
    at = 2 if data.startswith(_START) else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        found.append(data[at + 1 : end])
        at = end
        if found[-1][0] == _SCAN:
            return found, at
    return [], len(data)


def _turned(header: list[bytes]) -> bool:
    """Whether the EXIF data say that the picture is not shown as it is coded."""
    exif = next((segment[3:] for segment in header if segment[0] == _EXIF and segment[3:7] == b"Exif"), None)
    if exif is None:
        return False
    from PIL import Image

    found = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found.load(exif)
            return found.get(ORIENTATION, 1) not in (0, 1)
        except Exception:  # damaged notes: left to the decoder
            return True


def _identity(header: list[bytes]) -> bytes:
    """What decides how the blocks are decoded."""
    return b"".join([segment for segment in header if segment[0] not in _FREE])


def _longest_zeros(tables: Iterable[bytes]) -> list[int]:
    """Longest code of symbol 0 ("as the last block", "no more of this block") in Huffman tables for DC, and for AC."""
    longest = [0, 0]
    for content in tables:
        at = 0
        while at + 17 <= len(content):
            kind, counts = content[at] >> 4 & 1, content[at + 1 : at + 17]
            place = content.find(0, at + 17, at + 17 + sum(counts)) - (at + 17)
            length = next((n for n, so_far in enumerate(accumulate(counts), 1) if place < so_far), 16)
            longest[kind] = max(longest[kind], length)
            at += 17 + sum(counts)
    return longest


def _flat(frame: bytes, bits: int) -> int:
    """Most bytes of a picture all of whose blocks say "as the last", in two codes of `bits` together.

    No code is all ones, so two of them hold at most `bits` − 2 ones in a row; eight make a byte that takes a filler.
    """
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    across, down = [s >> 4 for s in frame[7::3]], [s & 15 for s in frame[7::3]]
    units = -(-width // (8 * max(1, *across))) * -(-height // (8 * max(1, *down)))
    blocks = units * sum(a * d for a, d in zip(across, down, strict=True))
    return (1 if bits < 10 else 2) * (blocks * bits // 8 + 32)
