"""The sampling rate of every sound that a pack names, from the files' headers, before anything is written.

Note:
    One file of 44,100 Hz among 16,000 Hz ones would be found when the last shard is done. Only files are looked at
    here; sounds that an iterator makes, and files that cannot be read, are met when they are written.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.data.formats import SOUNDS

_SOUNDS = tuple(f".{name}" for name in SOUNDS)

Numbered = tuple[int, Mapping[str, Any]]


def of_one_rate(
    samples: Sequence[Numbered], units: Mapping[str, Mapping[str, Any]], on_bad: Callable[[str, str], None] | None
) -> list[Numbered]:
    """The samples whose sound files have the rate that `units` give, else the commonest of their modality.

    on_bad: called with (key, reason) of any other; without it, the first such sample raises `DataError`.
    """
    found: dict[str, list[tuple[int, Path, float]]] = {}
    for place, (_, sample) in enumerate(samples):
        for modality, path in _sounds(sample):
            rate = header_rate(path)
            if rate is not None:
                found.setdefault(modality, []).append((place, path, rate))
    odd: dict[int, str] = {}
    for modality, files in found.items():
        counted = Counter(rate for _, _, rate in files)
        said = units.get(modality, {}).get("rate")
        wanted = said or counted.most_common(1)[0][0]
        told = f"units say {wanted:g}" if said else f"{counted[wanted]} of {len(files)} sounds {wanted:g} Hz"
        for place, path, rate in files:
            if rate != wanted:
                odd.setdefault(place, f"{modality}: file {path.name!r} states {rate:g} Hz, {told}: resample it.")
    for place, reason in odd.items():
        number, sample = samples[place]
        key = str(sample.get("key", f"{number:08d}"))
        if on_bad is None:
            more = f" So are {len(odd) - 1} more." if len(odd) > 1 else ""
            raise DataError(f"sample {key!r}: {reason[:-1]}, or skip bad samples (on_bad='skip').{more}")
        on_bad(key, reason)
    return [sample for place, sample in enumerate(samples) if place not in odd]


def _sounds(sample: Any) -> Iterator[tuple[str, Path]]:
    """(modality, file) of the values that are sound files."""
    if isinstance(sample, Mapping):
        for name, value in sample.items():
            value = value.get("value") if isinstance(value, Mapping) else value
            if isinstance(value, Path) and os.fspath(value).lower().endswith(_SOUNDS):
                yield name, value


def header_rate(path: Path) -> float | None:
    """The rate in Hz that a sound file's header states; None where it cannot be told, which reading it will explain."""
    try:
        if path.suffix.lower() == ".wav":
            with path.open("rb") as stream:
                return _wav_rate(stream)
        import soundfile

        return float(soundfile.info(str(path)).samplerate)
    except Exception:  # a file that is missing or damaged, a package that is not there
        return None


def _wav_rate(stream: Any) -> float | None:
    """Of the `fmt ` chunk, also of float and extensible files."""
    start = stream.read(12)
    while start[:4] == b"RIFF":
        head = stream.read(8)
        if len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"fmt ":
            return float(int.from_bytes(stream.read(8)[4:8], "little")) or None
        stream.seek(size + size % 2, 1)
    return None
