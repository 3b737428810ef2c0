"""Anchor features of a frozen tower, computed once: K views of every sample, kept on disk by sample key.

A frozen tower gives the same features in every epoch, so running it in every step is waste. The cache records a
fingerprint of encoder, options, weights, preprocessing, data and views.

Note:
    A cache whose fingerprint differs is refused, never silently used or overwritten; view 0 is the plain sample, the
    others are random views. Of a sample with n captions, view k is of caption k modulo n, the first n plain. What
    cannot be read has no row; asked for, it is a damaged sample with the reason.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairalign.align.cache_build import build_anchors
from pairalign.align.fingerprint import cache_fingerprint
from pairalign.core.encoder import Encoder
from pairalign.core.errors import CacheError, SignalError, StorageError
from pairalign.core.record import read_record
from pairalign.data.arrays import read_header
from pairalign.data.captions import several_texts
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.place import Remote, find_place
from pairalign.data.shards import read_samples
from pairalign.runs.lock import alone


@dataclass(frozen=True)
class _Record:
    """cache.json: what `AnchorCache` has beside its features, and what they were made from."""

    fingerprint: str
    keys: list[str]
    contents: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    bad: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class AnchorCache:
    """Features (N, K, D) of N samples and K views, memory-mapped, with the row of each sample key.

    contents: ids of what a text encoder reads of each caption of a sample. bad: why other samples cannot be read.
    """

    features: np.ndarray
    rows: Mapping[str, int]
    contents: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)
    bad: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path, fingerprint: str, width: int) -> AnchorCache:
        """Open a finished cache of features of width D; raise `CacheError` if it is damaged or was made from
        something else."""
        folder = Path(folder)
        try:
            record = read_record(folder / "cache.json", _Record)
            with (folder / "features.npy").open("rb") as stream:
                read_header(stream)
            features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy raises a dozen kinds for a damaged header
            raise CacheError(
                f"anchor cache {str(folder)!r} is damaged ({error}): delete the folder to rebuild."
            ) from error
        if (found := record.fingerprint) != fingerprint:
            raise CacheError(
                f"anchor cache {str(folder)!r} is stale: made with other weights, options, preprocessing or data "
                f"(fingerprint {found[:12]}, now {fingerprint[:12]}). Delete the folder, or set `cache` to another one."
            )
        if features.ndim != 3 or features.dtype != np.float32 or features.shape[2] != width:
            what = f"{features.dtype} of shape {features.shape}, and should be float32 of shape (N, K, {width})"
            raise CacheError(f"anchor cache {str(folder)!r} is damaged: its features are {what}: delete it.")
        if len(record.keys) != len(features):
            raise CacheError(
                f"anchor cache {str(folder)!r} holds {len(features)} rows for {len(record.keys)} keys: delete it."
            )
        views = features.shape[1]
        if not views or max(map(len, record.contents.values()), default=1) > views:
            raise CacheError(f"anchor cache {str(folder)!r} holds {views} views, fewer than captions: delete it.")
        rows = {key: row for row, key in enumerate(record.keys)}
        return cls(features, rows, record.contents, record.bad)

    def view(self, key: str, generator: torch.Generator | None, place: int = 0) -> Tensor:
        """One view (D,) of a sample: a random one with a generator, a plain one without.

        place: of the caption, in a sample with several. Raise `SignalError` for a sample that cannot be read.
        """
        if key in self.bad:
            raise SignalError(self.bad[key])
        if key not in self.rows:
            raise CacheError(f"sample {key!r} is not in the anchor cache: delete the cache folder to rebuild it.")
        several = len(self.contents.get(key, ())) or 1
        fitting = range(place % several, self.features.shape[1], several)
        pick = 0 if generator is None else int(torch.randint(len(fitting), (), generator=generator))
        return torch.from_numpy(np.array(self.features[self.rows[key], fitting[pick]]))

    def content(self, key: str, place: int, otherwise: int) -> int:
        """Id of what a text encoder reads of the caption at a place; `otherwise` for what is no caption."""
        found = self.contents.get(key)
        return found[place % len(found)] if found else otherwise


def cache_folder(folder: str | Path, fingerprint: str) -> Path:
    """Where a cache that is called as `folder` lies; says so where one of an earlier version is left there unused."""
    folder = Path(folder)
    if (folder / "cache.json").exists():
        print(f"anchor cache {str(folder)!r} is of an earlier version and not used: delete it.", file=sys.stderr)
    return folder.with_name(f"{folder.name}-{fingerprint[:12]}")


class Wanted(NamedTuple):
    """Where a cache lies, what it has to be made from, and its views of each sample: one for each caption at least."""

    folder: Path
    fingerprint: str
    views: int


def find_cache(
    folder: str | Path,
    encoder: Encoder,
    options: Mapping[str, Any],
    shards: str | Path | Remote,
    split: str,
    source: str,
    *,
    views: int,
    seed: int,
    recorded: Mapping[str, Any],
) -> Wanted:
    """The cache that `open_or_build` opens or builds, without doing either; arguments as there."""
    index, part = load_index(shards), f"{split}/{source}"
    views = max(views, _most_captions(encoder, index, shards, split, source))
    if type(encoder).conform is not Encoder.conform:
        part += f" {dict(recorded)}"  # what is recorded decides how a value is read
    fingerprint = cache_fingerprint(encoder, options, index.content_hash, views, seed, part)
    return Wanted(cache_folder(folder, fingerprint), fingerprint, views)


def open_or_build(
    folder: str | Path,
    encoder: Encoder,
    options: Mapping[str, Any],
    shards: str | Path | Remote,
    split: str,
    source: str,
    *,
    views: int = 1,
    seed: int = 0,
    batch_size: int = 64,
    device: torch.device | None = None,
    progress: bool = True,
    recorded: Mapping[str, Any] | None = None,
) -> AnchorCache:
    """Open the cache of a frozen encoder over one split of a shard folder, computing it first if there is none.

    device: where the encoder is and computes; by default that of its weights. recorded: what is known of the samples,
    see `Encoder.conform`; by default what their index says. It lies in `folder` under a name with the first twelve
    digits of its fingerprint, so that what was made from something else lies elsewhere. Of several processes, one
    computes and the others wait.
    """
    recorded = asdict(load_index(shards).modalities[source]) if recorded is None else recorded
    wanted = find_cache(folder, encoder, options, shards, split, source, views=views, seed=seed, recorded=recorded)
    folder, fingerprint, views = wanted
    if not (folder / "cache.json").exists():
        with alone(folder, wait=True):
            if not (folder / "cache.json").exists():
                place = device or next((t.device for t in encoder.state_dict().values()), torch.device("cpu"))
                settings = (views, seed, batch_size, fingerprint, place, progress, recorded)
                try:
                    build_anchors(folder, encoder, find_place(shards), split, source, *settings)
                except StorageError:
                    if not (folder / "cache.json").exists():  # else another machine was faster
                        raise
    return AnchorCache.open(folder, fingerprint, encoder.width)


def _most_captions(encoder: Encoder, index: ShardIndex, shards: Any, split: str, source: str) -> int:
    """Most captions of one sample: so many views it needs at least."""
    info = index.modalities[source]
    if encoder.signal.kind != "text":
        return 1
    if "json" not in info.ext:
        return max(1, sum(part.isdigit() for part in info.parts))
    found = read_samples(shards, split, [source], on_bad=lambda key, reason: None)
    return max((len(several_texts(sample.values[source]) or [0]) for sample in found), default=1)
