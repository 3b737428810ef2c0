"""The index of a shard folder: what is inside, written last, so that a folder without it is unfinished.

Frozen dataclasses, JSON on disk (`index.json`).

Note:
    The content hash covers every sample's key, split and stored bytes, and neither the order nor the layout in shards,
    so packing with other workers or other shard sizes keeps it; a re-encoded image changes it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import read_bytes
from pairalign.core.record import Closed, as_record, parse_record
from pairalign.core.secrets import hide
from pairalign.core.trust import is_trusted
from pairalign.data.arrays import dtype_of
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.files import replacing, sha256_text, stays_inside

INDEX_NAME = "index.json"
VERSION = 1
SMALLEST = 512  # bytes of a sample in a tar
_UNSAFE = re.compile(r"^/|\\|(^|/)\.\.(/|$)|^[A-Za-z][\w+.-]*:|\x00")  # leaves the folder, or is an address


@dataclass(frozen=True)
class ModalityInfo(Closed):
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
class ShardInfo(Closed):
    """One tar: its name in the folder, samples, bytes and SHA-256."""

    name: str
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitInfo(Closed):
    """The shards of one split."""

    count: int
    shards: tuple[ShardInfo, ...]


@dataclass(frozen=True)
class ShardIndex(Closed):
    """The whole folder. `source`, `licence`: where the data is from; `skipped`: (key, reason) of bad samples
    left out. `divisions`: the split sets, other ways to split the same shards, by name, such as "by_object"; what an
    encoder or a config calls "by_object/test" is the test split of that one. at: the folder or address of the shards,
    where they are not beside the index.
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
    at: str | None = None

    @property
    def split_sets(self) -> dict[str, dict[str, SplitInfo]]:
        """`divisions`, as index.json calls them."""
        return self.divisions

    @property
    def every_split(self) -> dict[str, SplitInfo]:
        """The splits, and those of the split sets as "by_object/test"."""
        others = {f"{name}/{part}": info for name, parts in self.split_sets.items() for part, info in parts.items()}
        return self.splits | others

    def split(self, name: str, folder: str | Path | Remote = "") -> SplitInfo:
        """One split; raise `DataError` if it does not exist or is empty."""
        known, where = self.every_split, hide(str(folder))
        if name not in known:
            raise DataError(f"{where!r} has no split {name!r}.{did_you_mean(name, known)}")
        if not known[name].count:
            raise DataError(f"split {name!r} of {where!r} is empty: pack at least one sample into it.")
        return known[name]

    def digest(self, *names: str) -> str:
        """SHA-256 over the shards of these splits, of those that there are: their names, counts and bytes, in order."""
        found = {name: self.every_split[name].shards for name in sorted(set(names)) if name in self.every_split}
        told = {name: [(shard.name, shard.count, shard.sha256) for shard in shards] for name, shards in found.items()}
        return sha256_text(json.dumps(told))

    def require(self, modalities: Any, folder: str | Path | Remote = "") -> None:
        """Raise `DataError` unless every named modality is in the index."""
        for name in modalities:
            if name not in self.modalities:
                where = hide(str(folder))
                raise DataError(f"{where!r} holds no modality {name!r}.{did_you_mean(name, self.modalities)}")


def save_index(index: ShardIndex, folder: Path) -> None:
    """Write `index.json` at once or not at all."""
    with replacing(folder / INDEX_NAME, durable=True) as partial, partial.open("w", encoding="utf-8") as stream:
        json.dump(_told(index), stream, indent=1, sort_keys=True)


def index_bytes(index: ShardIndex) -> bytes:
    """The index as it is stored."""
    return json.dumps(_told(index), indent=1, sort_keys=True).encode()


def _told(index: ShardIndex) -> dict[str, Any]:
    """Plain values; what only some indexes have is left out of the others, for earlier versions."""
    told = dataclasses.asdict(index)
    return told if index.at is not None else {name: value for name, value in told.items() if name != "at"}


def load_index(place: str | Path | Remote) -> ShardIndex:
    """Read the index of a finished place of shards, see `find_place`; of shards that the place names, theirs alone.

    Raise `DataError` if it is missing, cannot be fetched, is damaged or newer. That of an address is fetched again
    after a minute.
    """
    place = find_place(place)
    if not isinstance(place, Remote):
        return _parsed(_local(place), str(place / INDEX_NAME))
    if not place.scheme:
        return _chosen(load_index(Path(place.base)), place)
    from pairalign.data.remote.fetched import fetch_index

    return fetch_index(place, lambda data: _chosen(_parsed(data, hide(place.file(INDEX_NAME))), place))


def shards_at(place: str | Path | Remote, index: ShardIndex) -> ShardPlace:
    """Where the shards of an index lie that was found at `place`: there, or where an index says that the user made or
    named on this machine (`pairalign data index`); raise `DataError` for any other place, and for a command."""
    place = find_place(place)
    if index.at is None:
        return place
    if index.at.startswith("pipe:"):
        raise DataError(f"the index of {str(place)!r} holds a command, which only a user may give: make it anew.")
    found = find_place(index.at, place if isinstance(place, Path) else "")
    if isinstance(place, Remote) and place.scheme and not (isinstance(found, Remote) and found.scheme):
        raise DataError(f"the index of {str(place)!r} names shards on this machine, {index.at!r}: make it anew.")
    if not (_below(place, found) or is_trusted("shards", index.at)):
        raise DataError(
            f"the index of {str(place)!r} says that its shards lie elsewhere, at {hide(index.at)!r}, which nobody has "
            f"named on this machine: if that is meant, run `pairalign data index {place} --trust`."
        )
    return found


def _below(place: ShardPlace, found: ShardPlace) -> bool:
    """Whether one place is the other, or lies in it."""
    if isinstance(place, Remote) and place.scheme:
        home = place.base.rstrip("/")
        inside = isinstance(found, Remote) and ".." not in found.base.split("/")
        return inside and f"{found.base}/".startswith(f"{home}/")  # type: ignore[union-attr]
    home_folder = Path(place.base) if isinstance(place, Remote) else place
    folder = Path(found.base) if isinstance(found, Remote) and not found.scheme else found
    return isinstance(folder, Path) and stays_inside(folder, home_folder)


def _local(folder: Path) -> bytes:
    path = folder / INDEX_NAME
    if not path.is_file():
        raise DataError(_missing(folder))
    try:
        return read_bytes(path, "table")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}).") from error


def _parsed(data: bytes, path: str) -> ShardIndex:
    try:
        values = parse_record(data, dict[str, Any], "table")
        version = values["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path!r} is damaged ({error}): copy it again, or pack again.") from error
    if version != VERSION:
        raise DataError(f"{path!r} has version {version}; this pairalign reads {VERSION}: upgrade.")
    try:
        index = _checked(as_record(values, ShardIndex))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path!r} is damaged ({error}): copy it again, or pack again.") from error
    for shard in (shard for split in index.every_split.values() for shard in split.shards):
        if _UNSAFE.search(shard.name):
            raise DataError(f"{path!r} names a shard {shard.name!r} outside its folder: take one that you trust.")
    return index


def _chosen(index: ShardIndex, place: Remote) -> ShardIndex:
    """Of an index what belongs to the shards that a place names; all where it names none."""
    names = set(place.names)
    if not names:
        return index
    known = {shard.name for split in index.splits.values() for shard in split.shards}
    if missing := [name for name in place.names if name not in known]:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise DataError(f"{str(place)!r}: its index names no shard {shown}: correct the braces, or make it anew.")
    if names == known:
        return index
    content = sha256_text(json.dumps([index.content_hash, sorted(names)]))
    sets = {name: _of_names(parts, names) for name, parts in index.split_sets.items()}
    return dataclasses.replace(index, splits=_of_names(index.splits, names), divisions=sets, content_hash=content)


def _of_names(splits: dict[str, SplitInfo], names: set[str]) -> dict[str, SplitInfo]:
    kept = {split: tuple(s for s in info.shards if s.name in names) for split, info in splits.items()}
    return {split: SplitInfo(sum(s.count for s in shards), shards) for split, shards in kept.items()}


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"shard folder {str(folder)!r} does not exist: make it with `pairalign data pack`."
    if (folder / ".pack").exists():
        return f"shard folder {str(folder)!r} has no {INDEX_NAME}: packing never finished. Run it again."
    if any(folder.glob("*.tar")):
        return (
            f"shard folder {str(folder)!r} has no {INDEX_NAME}: packing never finished (run it again), or another tool "
            f"wrote the shards (`pairalign data index {folder}`)."
        )
    return f"{str(folder)!r} is no shard folder (no {INDEX_NAME}): give one that `pairalign data pack` wrote."


def _checked(index: ShardIndex) -> ShardIndex:
    """The same; raise `ValueError` for what a type does not say: counts that cannot be, names that are none."""
    if not index.modalities:
        raise ValueError("it names no modality")
    for info in index.modalities.values():
        if info.dtype not in (None, "mixed") and dtype_of(info.dtype).kind not in "biufSU":
            raise ValueError(f"dtype {info.dtype!r} is none of numbers")
    for split in (index.splits, *index.split_sets.values()):
        for name, part in split.items():
            for shard in part.shards:
                shard.name.encode()  # half a character names no file
                if not 0 <= SMALLEST * shard.count <= shard.bytes:
                    raise ValueError(
                        f"shard {shard.name!r} is told to hold {shard.count} samples in {shard.bytes} bytes"
                    )
            if part.count != sum(shard.count for shard in part.shards):
                raise ValueError(f"split {name!r} is told to hold {part.count} samples, its shards hold others")
    return index
