"""Samples listed once, kept on disk, and given back in random order: a million of them in eight bytes each.

Where it bites: what is kept is pickled by this process for itself, in a file without a name, and never read again.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.files import writing


class Spool:
    """`for sample in spool` gives every sample, from the start each time, in an order that follows from `seed`."""

    def __init__(self, samples: Iterable[Mapping[str, Any]], folder: Path, seed: int | None) -> None:
        places = bytearray()
        with writing(folder):
            self.file = tempfile.TemporaryFile(dir=folder, prefix=".listing.partial")  # noqa: SIM115
        for sample in samples:  # reading has errors of its own
            with writing(folder):
                places += self.file.tell().to_bytes(8, "little")
                pickle.dump(dict(sample), self.file, protocol=pickle.HIGHEST_PROTOCOL)
        with writing(folder):
            self.file.flush()
        self.places = np.frombuffer(bytes(places), "<i8")
        if seed is not None:
            self.places = self.places[np.random.default_rng(seed).permutation(len(self.places))]

    def __length_hint__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place in self.places:
            self.file.seek(int(place))
            yield pickle.load(self.file)

    def close(self) -> None:
        """Give the space on disk back."""
        self.file.close()


class Changed:
    """Samples that pass through `change` each time they are asked for."""

    def __init__(self, samples: Iterable[dict[str, Any]], change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.samples, self.change = samples, change

    def __length_hint__(self) -> int:
        return length_hint(self.samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.change, self.samples)
