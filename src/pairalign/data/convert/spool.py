"""Samples listed once, kept on disk, and given back in random order: a million of them in eight bytes each.

Note:
    What is kept is pickled by this process for itself, in a file without a name, and never read again.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.files import writing


class Spool:
    """`for sample in spool` gives every sample, from the start each time, in an order that follows from `seed`."""

    def __init__(self, samples: Iterable[Mapping[str, Any]], folder: Path, seed: int | None) -> None:
        with writing(folder):
            self.file = tempfile.TemporaryFile(dir=folder, prefix=".listing.partial")  # noqa: SIM115
        try:
            places = self._keep(samples, folder)
        except BaseException:
            self.close()  # now, not when the error and what holds on to it are forgotten
            raise
        self.places = np.frombuffer(places, "<i8")
        if seed is not None:
            self.places = self.places[np.random.default_rng(seed).permutation(len(self.places))]

    def _keep(self, samples: Iterable[Mapping[str, Any]], folder: Path) -> bytes:
        places = bytearray()
        for sample in samples:  # reading has errors of its own
            with writing(folder):
                places += self.file.tell().to_bytes(8, "little")
                pickle.dump(dict(sample), self.file, protocol=pickle.HIGHEST_PROTOCOL)
        with writing(folder):
            self.file.flush()
        return bytes(places)

    def __length_hint__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place in self.places:
            self.file.seek(int(place))
            yield pickle.load(self.file)

    def close(self) -> None:
        """Give the space on disk back."""
        with suppress(OSError):  # on a full disk what is not written yet has no place, and nobody reads it
            self.file.close()


class Changed:
    """Samples that pass through `change` each time they are asked for."""

    def __init__(self, samples: Iterable[dict[str, Any]], change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.samples, self.change = samples, change

    def __length_hint__(self) -> int:
        return length_hint(self.samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.change, self.samples)
