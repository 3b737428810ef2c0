"""Anchor features of a frozen tower, computed once: K views of every sample, kept on disk by sample key.

A frozen tower gives the same features in every epoch, so running it in every step is waste. The cache records a
fingerprint of encoder, options, weights, preprocessing, data and views. Where it bites: a cache whose fingerprint
differs is refused, never silently used or overwritten; view 0 is the plain sample, the others are random views. Of a
sample with n captions, view k is of caption k modulo n, the first n plain. What cannot be read has no row; asked for,
it is a damaged sample with the reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.align.captions import caption_id
from pairalign.core.encoder import Encoder
from pairalign.core.errors import CacheError, DataError, SignalError, StorageError
from pairalign.core.record import read_record
from pairalign.data.captions import several_texts
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.kinds import with_meta
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, read_samples
from pairalign.files import replacing
from pairalign.runs.lock import alone


def weights_fingerprint(encoder: Encoder) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of every weight and buffer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cache_fingerprint(
    encoder: Encoder, options: Mapping[str, Any], content_hash: str, views: int, seed: int, part: str = ""
) -> str:
    """SHA-256 over all that decides a cached feature: code, options, weights, signal, data, number of views, seed.

    part: which split of the data, and which field of it.
    """
    what = {
        "code": [_source(getattr(type(encoder), name)) for name in ("preprocess", "augment", "view", "forward")],
        "encoder": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
        "options": dict(options),
        "signal": str(encoder.signal),
        "weights": weights_fingerprint(encoder),
        "content": content_hash,
        "views": views,
        "seed": seed,
        "part": part,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


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
    def open(cls, folder: str | Path, fingerprint: str) -> AnchorCache:
        """Open a finished cache; raise `CacheError` if it is damaged or was made from something else."""
        folder = Path(folder)
        try:
            record = read_record(folder / "cache.json", _Record)
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
        if features.ndim != 3 or features.dtype != np.float32 or 0 in features.shape[1:]:
            what = f"{features.dtype} of shape {features.shape}"
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
                    _build(folder, encoder, find_place(shards), split, source, *settings)
                except StorageError:
                    if not (folder / "cache.json").exists():  # else another machine was faster
                        raise
    return AnchorCache.open(folder, fingerprint)


@torch.no_grad()
def _build(
    folder: Path,
    encoder: Encoder,
    shards: ShardPlace,
    split: str,
    source: str,
    views: int,
    seed: int,
    batch_size: int,
    fingerprint: str,
    device: torch.device,
    progress: bool,
    recorded: Mapping[str, Any],
) -> None:
    total = count_samples(shards, split)
    header = {"descr": "<f4", "fortran_order": False, "shape": (total, views, encoder.width)}
    with replacing(folder) as partial:
        partial.mkdir()
        keys: list[str] = []
        contents: dict[str, list[int]] = {}
        bad: dict[str, str] = {}
        batch: list[Tensor] = []
        encode = (_encode_once if encoder.signal.kind == "text" else _encoded)(encoder.eval(), device)

        bar = tqdm(total=total, desc=f"anchors {folder.name}", unit="sample", disable=not progress)
        with bar, (partial / "features.npy").open("wb") as rows:  # a memory map would meet a full disk with SIGBUS
            np.lib.format.write_array_header_1_0(rows, header)

            def flush() -> None:
                if batch:
                    rows.write(np.ascontiguousarray(encode(batch), dtype="<f4").data)
                    batch.clear()

            for sample in read_samples(shards, split, [source], on_bad=bad.__setitem__):
                bar.update()
                raw = encoder.conform(sample.values[source], with_meta(recorded, sample.meta, encoder.sensors))
                try:
                    made, ids = _views(encoder, raw, views, f"{seed}/{sample.key}"), _contents(encoder, sample, source)
                except SignalError as error:
                    bad[sample.key] = str(error)
                    continue
                batch += made
                keys.append(sample.key)
                contents |= {sample.key: ids} if ids else {}
                if len(batch) >= batch_size:
                    flush()
            flush()
            if not keys:
                key, reason = next(iter(bad.items()))
                raise DataError(f"{shards}, field {source!r}: no sample is usable. First: {key}: {reason}")
            rows.seek(0)  # numpy leaves room in the header for other numbers
            np.lib.format.write_array_header_1_0(rows, {**header, "shape": (len(keys), views, encoder.width)})
        record = {"fingerprint": fingerprint, "views": views, "seed": seed, "split": split, "keys": keys}
        record |= {"contents": contents, "bad": bad}
        (partial / "cache.json").write_text(json.dumps(record), encoding="utf-8")


def _encoded(encoder: Encoder, device: torch.device) -> Callable[[list[Tensor]], np.ndarray]:
    """A function from preprocessed samples to their pooled features (n, D)."""
    return lambda values: encoder(encoder.collate(values).to(device)).pooled.float().cpu().numpy()


def _encode_once(encoder: Encoder, device: torch.device) -> Callable[[list[Tensor]], np.ndarray]:
    """The same, which remembers: captions repeat, so that 10,000 samples may hold 50 texts."""
    encode, known = _encoded(encoder, device), dict[bytes, np.ndarray]()

    def look_up(values: list[Tensor]) -> np.ndarray:
        names = [value.numpy().tobytes() for value in values]
        new = {name: value for name, value in zip(names, values, strict=True) if name not in known}
        if new:
            known.update(zip(new, encode(list(new.values())), strict=True))
        return np.stack([known[name] for name in names])

    return look_up


def _views(encoder: Encoder, raw: Any, views: int, seed: str) -> list[Tensor]:
    several = several_texts(raw) if encoder.signal.kind == "text" else None
    raws = [raw] if several is None else several
    made = [encoder.compact(one) for one in raws]
    for view in range(len(raws), views):
        digest = hashlib.blake2b(f"{seed}/{view}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        made.append(encoder.view(raws[view % len(raws)], generator))
    return made


def _contents(encoder: Encoder, sample: RawSample, source: str) -> list[int]:
    """Ids of a sample's captions; none where it is no text."""
    if encoder.signal.kind != "text":
        return []
    raw = sample.values[source]
    return [caption_id(encoder, one, sample.ids[source]) for one in several_texts(raw) or [raw]]


def _most_captions(encoder: Encoder, index: ShardIndex, shards: Any, split: str, source: str) -> int:
    """Most captions of one sample: so many views it needs at least."""
    info = index.modalities[source]
    if encoder.signal.kind != "text":
        return 1
    if "json" not in info.ext:
        return max(1, sum(part.isdigit() for part in info.parts))
    found = read_samples(shards, split, [source], on_bad=lambda key, reason: None)
    return max((len(several_texts(sample.values[source]) or [0]) for sample in found), default=1)


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # defined interactively
        return str(function.__code__.co_code.hex())
