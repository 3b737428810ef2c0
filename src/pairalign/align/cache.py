"""Anchor features of a frozen tower, computed once: K views of every sample, kept on disk by sample key.

A frozen tower gives the same features in every epoch, so running it in every step is waste. The cache records a
fingerprint of encoder, options, weights, preprocessing, data and views. Where it bites: a cache whose fingerprint
differs is refused, never silently used or overwritten; view 0 is the plain sample, the others are random views.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from pairalign.core.encoder import Encoder
from pairalign.core.errors import CacheError, StorageError
from pairalign.data.index import load_index
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.shards import count_samples, read_samples
from pairalign.files import replacing


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
class AnchorCache:
    """Features (N, K, D) of N samples and K views, memory-mapped, with the row of each sample key."""

    features: np.ndarray
    rows: Mapping[str, int]

    @classmethod
    def open(cls, folder: str | Path, fingerprint: str) -> AnchorCache:
        """Open a finished cache; raise `CacheError` if it is damaged or was made from something else."""
        folder = Path(folder)
        try:
            record = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
            features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
            keys = record["keys"]
            found = record["fingerprint"]
        except (OSError, ValueError, KeyError) as error:
            raise CacheError(
                f"anchor cache {str(folder)!r} is damaged ({error}): delete the folder to rebuild."
            ) from error
        if found != fingerprint:
            raise CacheError(
                f"anchor cache {str(folder)!r} is stale: made with other weights, options, preprocessing or data "
                f"(fingerprint {found[:12]}, now {fingerprint[:12]}). Delete the folder, or set `cache` to another one."
            )
        if len(keys) != len(features):
            raise CacheError(
                f"anchor cache {str(folder)!r} holds {len(features)} rows for {len(keys)} keys: delete it."
            )
        return cls(features, {key: row for row, key in enumerate(keys)})

    def view(self, key: str, generator: torch.Generator | None) -> Tensor:
        """One view (D,) of a sample: a random one with a generator, view 0 without."""
        if key not in self.rows:
            raise CacheError(f"sample {key!r} is not in the anchor cache: delete the cache folder to rebuild it.")
        views = self.features.shape[1]
        pick = 0 if generator is None else int(torch.randint(views, (), generator=generator))
        return torch.from_numpy(np.array(self.features[self.rows[key], pick]))


def cache_folder(folder: str | Path, fingerprint: str) -> Path:
    """Where a cache that is called as `folder` lies; says so where one of an earlier version is left there unused."""
    folder = Path(folder)
    if (folder / "cache.json").exists():
        print(f"anchor cache {str(folder)!r} is of an earlier version and not used: delete it.", file=sys.stderr)
    return folder.with_name(f"{folder.name}-{fingerprint[:12]}")


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
    digits of its fingerprint, so that what was made from something else lies elsewhere. Of several processes on one
    machine, one computes and the others wait.
    """
    index, part = load_index(shards), f"{split}/{source}"
    recorded = asdict(index.modalities[source]) if recorded is None else recorded
    if type(encoder).conform is not Encoder.conform:
        part += f" {dict(recorded)}"  # what is recorded decides how a value is read
    fingerprint = cache_fingerprint(encoder, options, index.content_hash, views, seed, part)
    folder = cache_folder(folder, fingerprint)
    if not (folder / "cache.json").exists():
        name = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        with FileLock(Path(tempfile.gettempdir()) / f"pairalign-{name}.lock"):
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
        batch: list[Tensor] = []
        encode = (_encode_once if encoder.signal.kind == "text" else _encoded)(encoder.eval(), device)

        bar = tqdm(total=total, desc=f"anchors {folder.name}", unit="sample", disable=not progress)
        with bar, (partial / "features.npy").open("wb") as rows:  # a memory map would meet a full disk with SIGBUS
            np.lib.format.write_array_header_1_0(rows, header)

            def flush() -> None:
                if batch:
                    rows.write(np.ascontiguousarray(encode(batch), dtype="<f4").data)
                    batch.clear()

            for sample in read_samples(shards, split, [source]):
                keys.append(sample.key)
                raw = encoder.conform(sample.values[source], recorded)
                batch += _views(encoder, raw, views, f"{seed}/{sample.key}")
                if len(batch) >= batch_size:
                    flush()
                bar.update()
            flush()
        record = {"fingerprint": fingerprint, "views": views, "seed": seed, "split": split, "keys": keys}
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
    made = [encoder.preprocess(raw)]
    for view in range(1, views):
        digest = hashlib.blake2b(f"{seed}/{view}".encode(), digest_size=8).digest()
        made.append(encoder.view(raw, torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)))
    return made


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # defined interactively
        return str(function.__code__.co_code.hex())
