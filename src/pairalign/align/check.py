"""What must hold of a stage-one run before anything long starts: folders, shards, splits, fields, units and rates.

`plan` and `align` ask the same. Where it bites: the split "val" of the default may be missing, which is said and not
refused, because data of one split is common; any other name that is missing is a typing error.
"""

from __future__ import annotations

from dataclasses import asdict

from pairalign.align.model import PairAligner
from pairalign.core.config import AlignConfig, DataConfig, EdgeConfig
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.graph import edge_name
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.kinds import check_stored
from pairalign.data.place import ShardPlace, find_place
from pairalign.files import why_unwritable


def check_folders(config: AlignConfig) -> None:
    """Raise `ConfigError` where the run folder or the folder of caches cannot be made or written."""
    for name, folder in (("out", config.out), ("cache", config.cache)):
        if folder is not None and (reason := why_unwritable(folder)):
            raise ConfigError(f"{name}={folder!r}: {reason}: choose another folder.")


def check_edges(config: AlignConfig, aligner: PairAligner) -> list[str]:
    """Check every edge's shards against the configuration and the declared signals; return what a user should know.

    Raises:
        DataError: no such shards, split or field, or too few samples.
        SignalError: recorded in another unit or rate than the encoder declares.
    """
    notes: list[str] = []
    for edge in config.edges:
        folder = find_place(edge.shards, config.data.root)
        notes += _check_edge(config, aligner, edge, load_index(folder), folder)
    return notes


def _check_edge(
    config: AlignConfig, aligner: PairAligner, edge: EdgeConfig, index: ShardIndex, folder: ShardPlace
) -> list[str]:
    name, split = edge_name(edge.between), config.data.train_split
    if split not in index.every_split:
        raise DataError(f"edge {name}: {str(folder)!r} has no split {split!r}.{did_you_mean(split, index.every_split)}")
    if index.every_split[split].count < 2 or config.train.batch_size < 2:
        raise DataError(
            f"edge {name}: split {split!r} has {index.every_split[split].count} samples and train.batch_size is "
            f"{config.train.batch_size}: a contrastive loss needs at least two samples in a batch."
        )
    notes: list[str] = []
    for end in edge.between:
        source = config.modalities[end].source or end
        if source not in index.modalities:
            raise DataError(
                f"edge {name}: {str(folder)!r} holds no field {source!r}.{did_you_mean(source, index.modalities)}"
            )
        info, where, encoder = index.modalities[source], f"edge {name}, field {source!r}", aligner.encoder(end)
        check_stored(encoder.signal, info, where)
        notes += encoder.check_data(asdict(info), where, learn=True)
    notes += _check_validation(name, config.data.val_split, index, folder)
    if config.train.batch_size > (count := index.every_split[split].count):
        size = f"train.batch_size={config.train.batch_size}"
        notes.append(f"note: edge {name}: {size} is more than its {count} training pairs: batches repeat some.")
    return notes


def _check_validation(name: str, split: str | None, index: ShardIndex, folder: ShardPlace) -> list[str]:
    count = index.every_split[split].count if split in index.every_split else 0
    if split is None or count > 1:
        return []
    if split == DataConfig.val_split:
        return [f"note: edge {name} is not validated: {str(folder)!r} has {count} samples of a split {split!r}."]
    known = did_you_mean(split, index.every_split) if split not in index.every_split else ""
    raise DataError(
        f"edge {name}: {str(folder)!r} has {count} samples of the split data.val_split={split!r}.{known} Name a split "
        "of every edge, or set data.val_split=null to train without validation."
    )
