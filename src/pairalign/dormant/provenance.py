"""Where a choice of dormant weights comes from: a hash of what was chosen, the scores it was chosen by, and their data.

A score file, a delta and a sensor pack keep it, so that a mask can be traced to the samples that it was made of.

Note:
    Keys say which samples were read, and the shards' content hash in which state; batches that were put together by
    hand have no keys, so a hash of their token ids stands alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.dormant.directions import Direction
from pairalign.dormant.quantised import bits_of
from pairalign.dormant.selection.relevant import neuron_layers
from pairalign.dormant.updates import Replacement

KEYS = 1000  # written out; of more samples only the hash and the first so many


class Calibration(list[dict[str, Any]]):
    """Batches of a model's inputs that know their samples. samples: a record for each set, see `record_samples`; tasks:
    the task of each batch, for scores that compare tasks; empty where nobody says it."""

    def __init__(
        self,
        batches: Iterable[dict[str, Any]] = (),
        samples: Iterable[dict[str, Any]] = (),
        tasks: Iterable[str] = (),
    ) -> None:
        super().__init__(batches)
        self.samples, self.tasks = list(samples), list(tasks)

    def extend_by(self, other: Calibration) -> None:
        """Add another set's batches with all that is known of them."""
        self += other
        self.samples += other.samples
        self.tasks += other.tasks

    @classmethod
    def by_task(cls, batches: Mapping[str, Iterable[dict[str, Any]]]) -> Calibration:
        """Of batches by the name of their task."""
        told = [(task, batch) for task, those in batches.items() for batch in those]
        return cls([batch for _, batch in told], (), [task for task, _ in told])


def tasks_of(batches: Any) -> list[str]:
    """The task of each batch of a calibration set; none where nobody says it."""
    return list(getattr(batches, "tasks", ()))


def record_samples(keys: Sequence[str], **about: Any) -> dict[str, Any]:
    """What is written of a set of samples: `about`, their number, the SHA-256 of their keys, each with a line's end,
    and the keys, the first `KEYS` of them."""
    digest = hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()
    return {**about, "count": len(keys), "sha256": digest, "keys": list(keys[:KEYS])}


class Seen(Iterable[Mapping[str, Any]]):
    """Batches on their way into a score, which may look at them or not."""

    def __init__(self, batches: Iterable[Mapping[str, Any]]) -> None:
        self.batches, self.tasks = batches, tasks_of(batches)
        self.count, self.tokens = 0, ""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        digest = hashlib.sha256()
        for count, batch in enumerate(self.batches, 1):
            first = batch.get("input_ids", next((v for v in batch.values() if torch.is_tensor(v)), None))
            digest.update(b"" if first is None else _bytes(first))
            self.count, self.tokens = count, digest.hexdigest()
            yield batch

    def record(self) -> dict[str, Any] | None:
        """Number of batches, SHA-256 of their token ids, and samples where they are known; `None` if none was read."""
        if not self.count:
            return None
        return {"batches": self.count, "tokens": self.tokens, "samples": getattr(self.batches, "samples", [])}


def origin_of(
    updates: Mapping[str, Replacement | Direction],
    scores: Mapping[str, Tensor] | None,
    seen: Seen | None,
    beside: Sequence[str] = (),
) -> dict[str, Any]:
    """What is kept of a choice: "sha256" of what was chosen, "scores" (what a score file says of itself, or `None`),
    "calibration", which was read now, or by what wrote that file, "neurons", what marks say of each MLP, and "beside",
    the sensors whose weights were left to them, where there are some."""
    about = dict(getattr(scores, "about", {}))
    stored = about.pop("calibration", None)
    about.pop("layers", None)  # a hash for each weight, which a delta has itself
    found = {"sha256": chosen_hash(updates), "scores": about or None, "calibration": read_by(scores, seen) or stored}
    if neurons := neuron_layers(scores):
        found["neurons"] = [asdict(one) for one in neurons]
    return {**found, "beside": list(beside)} if beside else found


def read_by(scores: Mapping[str, Tensor] | None, seen: Seen | None) -> dict[str, Any] | None:
    """The record of what scores were made of: of batches that were given, or that the model wrote itself."""
    own: dict[str, Any] | None = getattr(scores, "read", None)
    return (seen.record() if seen is not None else None) or own


def chosen_hash(updates: Mapping[str, Replacement | Direction]) -> str:
    """SHA-256 of which rows, columns, entries or directions updates own, by module name."""
    digest = hashlib.sha256()
    for name, update in sorted(updates.items()):
        if isinstance(update, Direction):
            kind, part = "directions", _bytes(update.basis)
        else:
            mask = update.mask()
            kind, index = mask.kind, mask.index.cpu()
            part = np.packbits(index.numpy()).data if kind == "entries" else _bytes(index.long())
        digest.update(f"{name} {kind} {len(part)}\n".encode())
        digest.update(part)
    return digest.hexdigest()


def fingerprint(weight: Tensor) -> str:
    """SHA-256 of a weight's bytes, row by row as stored."""
    return hashlib.sha256(_bytes(weight)).hexdigest()


def weight_fingerprint(weight: Tensor) -> str:
    """SHA-256 of all that a weight is stored as."""
    digest = hashlib.sha256()
    for part in bits_of(weight):
        digest.update(_bytes(part))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    data: memoryview = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
    return data
