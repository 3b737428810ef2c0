"""The index of a shard folder: what is inside, written last, so that a folder without it is unfinished.

Frozen dataclasses, JSON on disk (`index.json`). Where it bites: the content hash covers every sample's key,
split and stored bytes, and neither the order nor the layout in shards, so packing with other workers or other
shard sizes keeps it; a re-encoded image changes it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.files import replacing, sha256_text

INDEX_NAME = "index.json"
VERSION = 1


@dataclass(frozen=True)
class ModalityInfo:
    """What the samples of one modality are.

    ext: stored formats. parts: names of its parts, "" for the value itself, "00", "01" for frames. unit, rate
    (Hz), axes, sensor (make or model), up (axis that points up, such as "+y"): as packed, None where not said.
    dtype, shape: of the decoded value, None where it varies.
    range: smallest and largest value met, of JPEG 0 and 255; None for text.
    """

    ext: tuple[str, ...]
    parts: tuple[str, ...] = ("",)
    unit: str | None = None
    rate: float | None = None
    axes: tuple[str, ...] | None = None
    sensor: str | None = None
    up: str | None = None
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class ShardInfo:
    """One tar: its name in the folder, samples, bytes and SHA-256."""

    name: str
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitInfo:
    """The shards of one split."""

    count: int
    shards: tuple[ShardInfo, ...]


@dataclass(frozen=True)
class ShardIndex:
    """The whole folder. `source`, `licence`: where the data is from; `skipped`: (key, reason) of bad samples
    left out. `divisions`: other ways to split the same shards, by name, such as "by_object"; what an encoder or a
    config calls "by_object/test" is the test split of that one.
    """

    modalities: dict[str, ModalityInfo]
    splits: dict[str, SplitInfo]
    content_hash: str
    source: str | None = None
    licence: str | None = None
    synthetic: bool = False
    divisions: dict[str, dict[str, SplitInfo]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    created_by: str = ""
    version: int = field(default=VERSION)

    @property
    def every_split(self) -> dict[str, SplitInfo]:
        """The splits, and those of the divisions as "by_object/test"."""
        others = {f"{name}/{part}": info for name, parts in self.divisions.items() for part, info in parts.items()}
        return self.splits | others

    def split(self, name: str, folder: str | Path = "") -> SplitInfo:
        """One split; raise `DataError` if it does not exist or is empty."""
        known = self.every_split
        if name not in known:
            raise DataError(f"{str(folder)!r} has no split {name!r}.{did_you_mean(name, known)}")
        if not known[name].count:
            raise DataError(f"split {name!r} of {str(folder)!r} is empty: pack at least one sample into it.")
        return known[name]

    def digest(self, *names: str) -> str:
        """SHA-256 over the shards of these splits, of those that there are: their names, counts and bytes, in order."""
        found = {name: self.every_split[name].shards for name in sorted(set(names)) if name in self.every_split}
        told = {name: [(shard.name, shard.count, shard.sha256) for shard in shards] for name, shards in found.items()}
        return sha256_text(json.dumps(told))

    def require(self, modalities: Any, folder: str | Path = "") -> None:
        """Raise `DataError` unless every named modality is in the index."""
        for name in modalities:
            if name not in self.modalities:
                raise DataError(f"{str(folder)!r} holds no modality {name!r}.{did_you_mean(name, self.modalities)}")


def save_index(index: ShardIndex, folder: Path) -> None:
    """Write `index.json` at once or not at all."""
    with replacing(folder / INDEX_NAME, durable=True) as partial, partial.open("w", encoding="utf-8") as stream:
        json.dump(dataclasses.asdict(index), stream, indent=1, sort_keys=True)


def load_index(folder: str | Path) -> ShardIndex:
    """Read the index of a finished folder; raise `DataError` if it is missing, damaged or newer."""
    folder = Path(folder)
    path = folder / INDEX_NAME
    if not path.is_file():
        raise DataError(_missing(folder))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): copy it again, or pack again.") from error
    if version != VERSION:
        raise DataError(f"{str(path)!r} has version {version}; this pairalign reads {VERSION}: upgrade.")
    try:
        return _from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): copy it again, or pack again.") from error


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"shard folder {str(folder)!r} does not exist: make it with `pairalign data pack`."
    if any(folder.glob("*.tar")) or (folder / ".pack").exists():
        return f"shard folder {str(folder)!r} has no {INDEX_NAME}: packing never finished. Run it again."
    return f"{str(folder)!r} is no shard folder (no {INDEX_NAME}): give one that `pairalign data pack` wrote."


def _from_dict(values: dict[str, Any]) -> ShardIndex:
    values = dict(values)
    values["modalities"] = {
        name: ModalityInfo(**{key: _tuple(entry) for key, entry in info.items()})
        for name, info in values["modalities"].items()
    }
    values["splits"] = _splits(values["splits"])
    values["divisions"] = {name: _splits(parts) for name, parts in values.get("divisions", {}).items()}
    values["labels"] = tuple(values["labels"])
    values["skipped"] = tuple((key, reason) for key, reason in values["skipped"])
    return ShardIndex(**values)


def _splits(parts: dict[str, Any]) -> dict[str, SplitInfo]:
    return {
        name: SplitInfo(info["count"], tuple(ShardInfo(**shard) for shard in info["shards"]))
        for name, info in parts.items()
    }


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
