"""What a run of stage one is made from: plugins, shards, the encoders' code, and the weights that it starts from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pairalign.align.losses import is_own, loss_hash
from pairalign.align.sources import EdgeSource, edge_sources
from pairalign.core.config import AlignConfig, to_dict
from pairalign.core.registry import encoder_hash
from pairalign.data.graph import edge_name
from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace
from pairalign.files import sha256_file, sha256_text
from pairalign.runs.identity import GONE, Identity, hashes
from pairalign.runs.plugins import load_plugins

Part = tuple[str, Callable[[], str | None]]


def align_identity(config: AlignConfig) -> Identity:
    """Of a run that may not have begun; what is not there is `GONE`. Loads the plugins."""
    plugins = load_plugins(config.plugins)
    found = plugins | hashes(_parts(config))
    if GONE not in plugins.values():
        found |= encoder_hashes({name: modality.encoder for name, modality in config.modalities.items()})
        if not is_own(config.loss.contrastive):
            found |= hashes([("loss", partial(loss_hash, config.loss.contrastive))])
    return Identity(to_dict(config), found)


def encoder_hashes(encoders: dict[str, str]) -> dict[str, str | None]:
    """Of the code of encoders, given the registered name by modality."""
    return hashes((f"encoder of {name}", partial(encoder_hash, encoder)) for name, encoder in encoders.items())


def shard_hash(folder: ShardPlace, *splits: str) -> str:
    """Of splits of a shard folder, wherever that is."""
    return load_index(folder).digest(*splits)


def pool_hash(sources: Sequence[EdgeSource], temperature: float | None) -> str:
    """Of a pool: what each of its sources is in order, and how much is drawn of it. Their names are no part of it."""
    told = [
        (shard_hash(s.folder, *(x for x in (s.train, s.val) if x)), s.train, s.val, s.weight, s.sensor) for s in sources
    ]
    return sha256_text(json.dumps([told, temperature]))


def _parts(config: AlignConfig) -> Iterator[Part]:
    for edge in config.edges:
        sources = edge_sources(config, edge)
        for source in sources:
            splits = [split for split in (source.train, source.val) if split is not None]
            name = "" if len(sources) == 1 else f", {source.name}"
            yield f"shards of edge {edge_name(edge.between)}{name}", partial(shard_hash, source.folder, *splits)
        if len(sources) > 1:  # a single folder has the same entry
            yield f"shards of edge {edge_name(edge.between)}", partial(pool_hash, sources, edge.temperature)
    for name, modality in config.modalities.items():
        if modality.start is not None:
            weights = Path(modality.start) / "model.safetensors"
            yield f"weights that {name} starts from", partial(sha256_file, weights)
