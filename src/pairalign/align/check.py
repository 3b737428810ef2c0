"""What must hold of a stage-one run before anything long starts: folders, shards, splits, fields, units and rates.

`plan` and `align` ask the same.

Note:
    The split "val" of the default may be missing, which is said and not refused, because data of one split is common;
    any other name that is missing is a typing error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pairalign.align.losses import is_own
from pairalign.align.model import PairAligner
from pairalign.align.sources import EdgeSource, edge_sources, recorded_of
from pairalign.core.config import AlignConfig, DataConfig, EdgeConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, DataError, SignalError, did_you_mean
from pairalign.data.captions import several_texts
from pairalign.data.graph import edge_name
from pairalign.data.index import ModalityInfo, ShardIndex, load_index
from pairalign.data.kinds import check_stored
from pairalign.data.place import ShardPlace
from pairalign.data.shards import read_samples
from pairalign.files import why_unwritable


def check_folders(config: AlignConfig) -> None:
    """Raise `ConfigError` where the run folder or the folder of caches cannot be made or written."""
    for name, folder in (("out", config.out), ("cache", config.cache)):
        if folder is not None and (reason := why_unwritable(folder)):
            raise ConfigError(f"{name}={str(folder)!r}: {reason}: choose another folder.")


def check_edges(config: AlignConfig, aligner: PairAligner) -> list[str]:
    """Check every edge's shards against the configuration and the declared signals; return what a user should know.

    Raises:
        DataError: no such shards, split or field, or too few samples.
        SignalError: recorded in another unit or rate than the encoder declares.
    """
    notes = list(schedule_notes(config.train))
    for edge in config.edges:
        sources = edge_sources(config, edge)
        names = {source: _name(edge, source, len(sources)) for source in sources}
        indices = {source: load_index(source.folder) for source in sources}
        for source, index in indices.items():
            notes += _check_source(config, aligner, edge, source, index, names[source])
        counts = [index.every_split[source.train].count for source, index in indices.items()]
        if config.train.batch_size > sum(counts):
            size = f"train.batch_size={config.train.batch_size}"
            notes.append(
                f"note: edge {edge_name(edge.between)}: {size} is more than its {sum(counts)} training pairs: batches "
                "repeat some."
            )
        if len(sources) > 1:
            notes += _note_of_rows(config.loss.contrastive, edge)
            for end in edge.between:
                field = config.modalities[end].source or end
                notes += check_alike(aligner.encoder(end), end, field, indices, names)
    return notes


def schedule_notes(train: Any) -> Iterator[str]:
    """What a user should know of a run's length, given settings of either stage; a trial may well be short."""
    if train.warmup > train.steps > 0:
        yield f"note: train.warmup={train.warmup} is more than train.steps={train.steps}: the rate stays below lr."


def _note_of_rows(loss: str, edge: EdgeConfig) -> Iterator[str]:
    if not is_own(loss):
        yield (
            f"note: edge {edge_name(edge.between)}: loss {loss!r} gives one number a batch, so training tells no "
            "contrast of each source; validation does."
        )


def _name(edge: EdgeConfig, source: EdgeSource, count: int) -> str:
    return f"edge {edge_name(edge.between)}" + (f", source {source.name!r}" if count > 1 else "")


def _check_source(
    config: AlignConfig, aligner: PairAligner, edge: EdgeConfig, source: EdgeSource, index: ShardIndex, name: str
) -> list[str]:
    split = source.train
    if split not in index.every_split:
        raise DataError(
            f"{name}: {str(source.folder)!r} has no split {split!r}.{did_you_mean(split, index.every_split)}"
        )
    if index.every_split[split].count < 2 or config.train.batch_size < 2:
        raise DataError(
            f"{name}: split {split!r} has {index.every_split[split].count} samples and train.batch_size is "
            f"{config.train.batch_size}: a contrastive loss needs at least two samples in a batch."
        )
    notes: list[str] = []
    for end in edge.between:
        field = config.modalities[end].source or end
        if field not in index.modalities:
            raise DataError(
                f"{name}: {str(source.folder)!r} holds no field {field!r}.{did_you_mean(field, index.modalities)}"
            )
        info, encoder = index.modalities[field], aligner.encoder(end)
        where = f"{name}, field {field!r}"
        taken = inspect.signature(type(encoder)).parameters
        check_stored(encoder.signal, info, where, {o: f"modalities.{end}.options.{o}" for o in taken})
        notes += encoder.check_data(recorded_of(source, info, end), where, learn=True)
    _check_told_sensor(config, aligner, edge, source, index, name)
    return [*notes, *_check_validation(name, source.val, index, source.folder)]


def _check_told_sensor(
    config: AlignConfig, aligner: PairAligner, edge: EdgeConfig, source: EdgeSource, index: ShardIndex, name: str
) -> None:
    """Raise `ConfigError` where a source says its sensor and no encoder asks for it, or its samples say it, too."""
    asking = [end for end in edge.between if aligner.encoder(end).sensors]
    if isinstance(source.sensor, str) and not asking:
        raise ConfigError(
            f"{name}: sensor={source.sensor!r}, and the encoder of neither {' nor '.join(edge.between)} tells sensors "
            f"apart: name them as its options.sensors, or leave sensor out."
        )
    for end in dict(source.sensor or ()) if not isinstance(source.sensor, str) else ():
        if end not in aligner.encoders:
            raise ConfigError(f"{name}: sensor of {end!r}: no such modality.{did_you_mean(end, aligner.encoders)}")
        if not aligner.encoder(end).sensors:
            raise ConfigError(
                f"{name}: sensor of {end!r}: its encoder tells no sensors apart: name them as "
                f"modalities.{end}.options.sensors, or leave it out."
            )
    for end in asking:
        told, info = source.sensor_of(end), index.modalities[config.modalities[end].source or end]
        if told is not None and "sensor" in info.parts:
            raise ConfigError(f"{name}: sensor={told!r}: its samples of {end!r} name their own sensors: leave it out.")


def check_alike(
    encoder: Encoder,
    end: str,
    field: str,
    indices: Mapping[EdgeSource, ShardIndex],
    names: Mapping[EdgeSource, str],
) -> list[str]:
    """Check that one encoder reads what every source of a pool stores of a modality, by a sample of each where formats
    or sizes differ; return a note where their values are of very different size and no unit says why.

    Raises `SignalError` that names the source.
    """
    stored = {source: index.modalities[field] for source, index in indices.items()}
    if len({(info.ext, info.shape) for info in stored.values()}) > 1:
        for source, info in stored.items():
            sample = next(read_samples(source.folder, source.train, [field], on_bad=lambda key, reason: None), None)
            try:
                if sample is not None:
                    stored_value = sample.values[field]
                    first = (several_texts(stored_value) or [stored_value])[0]  # of several captions
                    raw = encoder.conform(first, recorded_of(source, info, end))
                    value = encoder.preprocess(raw)
                    encoder.signal.check(value, f"sample {sample.key!r}")
            except SignalError as error:
                forms = "; ".join(f"{one.name}: {_form(held)}" for one, held in stored.items())
                raise SignalError(f"{names[source]}, field {field!r}: {error} The pool stores {forms}.") from error
    reach = {source: max(map(abs, info.range)) for source, info in stored.items() if info.range and info.unit is None}
    small, large = (min(reach, key=reach.__getitem__), max(reach, key=reach.__getitem__)) if reach else (None, None)
    if small is None or large is None or reach[large] < 100 * reach[small] or encoder.signal.kind in ("text", "image"):
        return []
    return [
        f"note: field {field!r}: values reach {reach[large]:.4g} in {names[large]} and {reach[small]:.4g} in "
        f"{names[small]}: of one unit? No index records it."
    ]


def _form(info: ModalityInfo) -> str:
    shape = "" if info.shape is None else f" of shape {info.shape}"
    return ", ".join(info.ext) + shape


def _check_validation(name: str, split: str | None, index: ShardIndex, folder: ShardPlace) -> list[str]:
    count = index.every_split[split].count if split in index.every_split else 0
    if split is None or count > 1:
        return []
    if split == DataConfig.val_split:
        return [f"note: {name} is not validated: {str(folder)!r} has {count} samples of a split {split!r}."]
    known = did_you_mean(split, index.every_split) if split not in index.every_split else ""
    raise DataError(
        f"{name}: {str(folder)!r} has {count} samples of the split data.val_split={split!r}.{known} Name a split "
        "of every edge, or set data.val_split=null to train without validation."
    )
