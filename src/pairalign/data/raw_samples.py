"""Raw samples of one field of a shard folder, as an encoder's `preprocess` gets them in a run.

Note:
    An encoder does not say what its field is called, so that it is found by what the shards store; where several could
    be meant, somebody has to say which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError, SignalError, did_you_mean
from pairalign.data.captions import several_texts
from pairalign.data.index import ShardIndex, load_index
from pairalign.data.kinds import check_stored, kind_of, main_value, with_meta
from pairalign.data.place import Remote, find_place
from pairalign.data.shards import RawSample, read_samples


def raw_samples(
    encoder: Encoder, folder: str | Path | Remote, field: str | None = None, split: str | None = None, count: int = 5
) -> tuple[str, list[Any]]:
    """The field and its first raw samples, of `split` or of the first split that has any.

    field: None takes the one that the encoder can read. Raise `DataError` where there is no such field, or several, and
    `SignalError` where it is recorded in another unit, rate or kind than the encoder declares.
    """
    place = find_place(folder)
    index = load_index(place)
    split = split or next((name for name in ("train", *index.splits) if name in index.every_split), "train")
    index.split(split, place)
    if field is not None and field not in index.modalities:
        raise DataError(f"{str(folder)!r} holds no field {field!r}.{did_you_mean(field, index.modalities)}")
    fields = [field] if field is not None else list(index.modalities)
    found = list(islice(read_samples(place, split, fields), count))
    if not found:
        raise DataError(f"{str(folder)!r}, split {split!r}: has no samples: name another split.")
    field = field or _only(encoder, index, found[0], str(folder))
    where, info = f"{str(folder)!r}, field {field!r}", index.modalities[field]
    check_stored(encoder.signal, info, where)
    encoder.check_data(asdict(info), where, learn=True)
    return field, [raw_of(encoder, asdict(info), sample, field) for sample in found]


def raw_of(encoder: Encoder, recorded: Mapping[str, Any], sample: RawSample, field: str) -> Any:
    """What `preprocess` gets of a stored sample; of several captions the first."""
    value = sample.values[field]
    texts = several_texts(value) if encoder.signal.kind == "text" else None
    return encoder.conform(texts[0] if texts else value, with_meta(recorded, sample.meta, encoder.sensors))


def _only(encoder: Encoder, index: ShardIndex, first: RawSample, folder: str) -> str:
    """The one field of the encoder's kind."""
    kinds = {name: kind_of(main_value(first.values[name]), info) for name, info in index.modalities.items()}
    able = [name for name, kind in kinds.items() if kind == encoder.signal.kind]
    readable = [name for name in able if _fits(encoder, index, name)] or able
    if len(readable) == 1:
        return readable[0]
    told = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    which = "several fields" if readable else "no field"
    raise DataError(
        f"{folder!r} holds {which} of kind {encoder.signal.kind!r}, which the encoder reads: {told}. Name one with "
        "--field (`field`)."
    )


def _fits(encoder: Encoder, index: ShardIndex, name: str) -> bool:
    try:
        check_stored(encoder.signal, index.modalities[name], name)
    except SignalError:
        return False
    return True
