"""A pool of held-out samples, encoded by every modality that a shard folder holds.

Note:
    A pool may hold modalities that were never paired in training; that is what measures emergent edges.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.align.latents import Latents
from pairalign.align.run import AlignRun
from pairalign.core.errors import DataError, SignalError, did_you_mean
from pairalign.data.captions import several_texts
from pairalign.data.index import ModalityInfo, ShardIndex, load_index
from pairalign.data.kinds import check_stored, with_meta
from pairalign.data.place import Remote, find_place
from pairalign.data.shards import RawSample, count_samples, read_samples
from pairalign.evaluate.captions import Captions, caption_ids, captions_of, joined
from pairalign.evaluate.clusters import clusters_of, group_of


@dataclass(frozen=True)
class EvalPool:
    """N encoded samples.

    latents: modality -> shared (N, d_s) and private (N, d_p). ids: modality -> content ids (N,).
    factors: name -> N labels; a plain label is the one factor "label". groups: N objects or sessions, or `None`.
    clusters: N numbers of what counts as one in an interval, as `clusters_of` gives them, or `None`.
    examples: the first few raw samples, for pictures. bad: (key, reason) of samples that were left out. captions: of
    the modalities with samples of several, whose first one is what latents hold.
    """

    name: str
    keys: list[str]
    latents: dict[str, Latents]
    ids: dict[str, Tensor]
    factors: dict[str, list[Any]]
    groups: list[Any] | None
    clusters: list[int] | None
    examples: list[RawSample]
    bad: list[tuple[str, str]]
    synthetic: bool
    captions: Mapping[str, Captions] = field(default_factory=dict)

    def captions_of(self, modality: str) -> Captions:
        """All captions of a modality, also where each sample has one."""
        ids = self.ids[modality]
        own = Captions(self.latents[modality].shared, torch.arange(len(ids)), ids, ids[:, None])
        return self.captions.get(modality, own)


def check_pairs(run: AlignRun, folder: str | Path | Remote, split: str) -> dict[str, str]:
    """The run's modalities that a shard folder holds, with their fields, read off its index.

    Raises:
        DataError: no such split, or no field of the run.
        SignalError: as `readable` does.
    """
    folder = find_place(folder)
    index = load_index(folder)
    if split not in index.every_split:
        raise DataError(f"pairs {str(folder)!r} have no split {split!r}.{did_you_mean(split, index.every_split)}")
    present = readable(run, index, folder)
    if not present:
        raise DataError(
            f"pairs {str(folder)!r} hold {', '.join(index.modalities)}, none of the aligned "
            f"{', '.join(run.aligner.encoders)}: pack the pairs with the names that the run uses, or set `source` in "
            "its config."
        )
    return present


def readable(run: AlignRun, index: ShardIndex, folder: str | Path | Remote) -> dict[str, str]:
    """Modality -> field, of those of the run that an index holds.

    Raise `SignalError` for a field that is recorded in another unit or rate, or as another kind, than the run's
    encoder declares: its figures would be of signals that it never learnt to read.
    """
    fields = {m: run.config.modalities[m].source or m for m in run.aligner.encoders}
    present = {m: f for m, f in fields.items() if f in index.modalities}
    for m, name in present.items():
        where = f"pairs {str(folder)!r}, field {name!r}"
        check_stored(run.aligner.encoder(m).signal, index.modalities[name], where)
        for note in run.aligner.encoder(m).check_data(asdict(index.modalities[name]), where):
            print(note, file=sys.stderr)
    return present


@torch.no_grad()
def encode_pool(
    run: AlignRun,
    folder: str | Path | Remote,
    split: str = "test",
    *,
    limit: int | None = None,
    batch_size: int = 128,
    examples: int = 256,
    shuffle: int = 0,
    progress: bool = True,
) -> EvalPool:
    """Encode one split of a shard folder with every aligned modality it holds; `DataError` unless there are two.

    limit: most samples, the first in stored order, or by chance with a `shuffle` of so many, see `read_samples`.
    """
    folder = find_place(folder)
    present, index = check_pairs(run, folder, split), load_index(folder)
    bad: list[tuple[str, str]] = []
    samples = read_samples(
        folder, split, list(present.values()), shuffle=shuffle, on_bad=lambda k, r: bad.append((k, r))
    )
    total = min(count_samples(folder, split), limit or 2**62)
    kept: list[RawSample] = []
    parts: dict[str, list[Latents]] = {m: [] for m in present}
    told: dict[str, list[list[int]]] = {m: [] for m in present if run.aligner.encoder(m).signal.kind == "text"}
    metas: list[dict[str, Any]] = []
    keys: list[str] = []
    ids: dict[str, list[int]] = {m: [] for m in present}
    bar = tqdm(islice(samples, limit), total=total, desc=f"encode {split}", unit="sample", disable=not progress)
    for batch in _batches(bar, batch_size):
        good = _encode(run, batch, present, index.modalities, parts, bad)
        for sample in good:
            for m in told:
                told[m].append(caption_ids(sample.values[present[m]]))
            keys.append(sample.key)
            metas.append(sample.meta)
            for m, name in present.items():
                ids[m].append(sample.ids[name])
        kept += good[: max(0, examples - len(kept))]
    if len(keys) < 2:
        first = f" First left out: {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise DataError(
            f"pairs {str(folder)!r}, split {split!r}: {len(keys)} usable samples: give at least two.{first}"
        )
    whole = {m: Latents(*(torch.cat(z) for z in zip(*found, strict=True))) for m, found in parts.items()}
    latents = dict(whole)
    several = {m: texts for m, texts in told.items() if max(map(len, texts)) > 1}
    for m, texts in several.items():
        starts = torch.tensor([0, *itertools.accumulate(map(len, texts))][:-1])
        latents[m] = Latents(*(z[starts] for z in whole[m]))
    content = {m: torch.tensor(values) for m, values in ids.items()}
    groups = [group_of(meta) for meta in metas]
    return EvalPool(
        f"{folder.name}/{split}",
        keys,
        latents,
        content,
        factors_of(metas),
        groups if all(g is not None for g in groups) else None,
        clusters_of(metas),
        kept,
        bad,
        bool(index.synthetic),
        {m: captions_of(whole[m].shared, texts) for m, texts in several.items()},
    )


def pooled(pools: Sequence[EvalPool], name: str) -> EvalPool | None:
    """The samples of several pools as one: a query meets the candidates of all. None unless they share two modalities.

    Keys and groups of different pools stay apart; equal content is equal in all. Labels are those that every pool has.
    """
    shared = [m for m in pools[0].latents if all(m in pool.latents for pool in pools)]
    if len(shared) < 2:
        return None
    groups = [(pool.name, group) for pool in pools for group in pool.groups or ()]
    factors = [name for name in pools[0].factors if all(name in pool.factors for pool in pools)]

    def whole(pool: EvalPool) -> bool:
        return len(pool.examples) == len(pool.keys)

    clusters, before = list[int](), 0
    for pool in pools:
        clusters += [before + number for number in pool.clusters or range(len(pool.keys))]
        before = 1 + max(clusters)
    shown = takewhile(lambda number: number == 0 or whole(pools[number - 1]), range(len(pools)))  # of the first rows
    return EvalPool(
        name,
        [f"{pool.name}/{key}" for pool in pools for key in pool.keys],
        {m: Latents(*(torch.cat(z) for z in zip(*(p.latents[m] for p in pools), strict=True))) for m in shared},
        {m: torch.cat([pool.ids[m] for pool in pools]) for m in shared},
        {name: [label for pool in pools for label in pool.factors[name]] for name in factors},
        groups if all(pool.groups is not None for pool in pools) else None,
        clusters if len(set(clusters)) < len(clusters) else None,
        [sample for number in shown for sample in pools[number].examples],
        [(f"{pool.name}/{key}", reason) for pool in pools for key, reason in pool.bad],
        any(pool.synthetic for pool in pools),
        {
            m: joined([pool.captions_of(m) for pool in pools])
            for m in shared
            if any(m in pool.captions for pool in pools)
        },
    )


def _batches(samples: Any, size: int) -> Iterator[list[RawSample]]:
    while batch := list(islice(samples, size)):
        yield batch


def _encode(
    run: AlignRun,
    batch: list[RawSample],
    present: dict[str, str],
    stored: Mapping[str, ModalityInfo],
    parts: dict[str, list[Latents]],
    bad: list[tuple[str, str]],
) -> list[RawSample]:
    """Encode a batch on every modality, leaving out (and noting) samples that break a declared signal.

    Of a sample with several captions all are encoded, one row each.
    """
    values: dict[str, list[Tensor]] = {m: [] for m in present}
    good = []
    for sample in batch:
        try:
            row = read_row(run, sample, present, stored)
        except SignalError as error:
            bad.append((sample.key, str(error)))
            continue
        good.append(sample)
        for m in present:
            values[m] += row[m]
    if good:
        device = next(run.aligner.parameters()).device
        for m in present:
            collated = run.aligner.encoder(m).collate(values[m]).to(device)
            parts[m].append(Latents(*(z.cpu() for z in run.aligner.encode(m, collated))))
    return good


def read_row(
    run: AlignRun, sample: RawSample, present: Mapping[str, str], stored: Mapping[str, ModalityInfo]
) -> dict[str, list[Tensor]]:
    """A stored sample as the run's encoders take it, by modality; of several captions all. Raise `SignalError` where it
    breaks a declared signal. present: modality -> field. stored: what the index records of each field."""
    row = {}
    for m, name in present.items():
        encoder, value = run.aligner.encoder(m), sample.values[name]
        texts = several_texts(value) if encoder.signal.kind == "text" else None
        recorded = with_meta(asdict(stored[name]), sample.meta, encoder.sensors)
        raws = [encoder.conform(one, recorded) for one in texts or [value]]
        row[m] = [encoder.preprocess(raw) for raw in raws]
        for one in row[m]:
            encoder.signal.check(one, f"sample {sample.key!r}, field {name!r}")
    return row


def factors_of(metas: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Factor -> the label of every sample, of those that all samples have; a plain label is the one factor "label"."""
    labels: list[Any] = [meta.get("label") for meta in metas]
    if all(isinstance(label, dict) for label in labels):
        names = [name for name in labels[0] if all(name in label for label in labels)]
        return {name: [label[name] for label in labels] for name in names}
    if all(label is not None for label in labels):
        return {"label": labels}
    return {}
