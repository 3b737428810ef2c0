"""The features of a frozen encoder over one split, computed once and written row by row.

Note:
    What cannot be read has no row, and its reason stands beside; that nothing can be is an error. Nothing lies at the
    cache's name before all of it is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.align.captions import caption_id
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError, SignalError
from pairalign.data.captions import several_texts
from pairalign.data.kinds import with_meta
from pairalign.data.place import ShardPlace
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, read_samples
from pairalign.files import replacing


@torch.no_grad()
def build_anchors(
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
