"""Packing to a bucket: every shard is written here, sent, and removed here; the index is sent last.

Note:
    What was sent is noted beside the records of packing, in a folder of this machine that belongs to the address, so an
    interrupted pack goes on only on the machine where it began. A bucket without an index holds no finished pack,
    whatever shards it holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.core.secrets import hide
from pairalign.data.index import INDEX_NAME, ShardIndex, index_bytes, load_index
from pairalign.data.place import Remote
from pairalign.data.remote.cache import cache_folder
from pairalign.data.remote.fetched import forget_index
from pairalign.data.remote.opening import filesystem
from pairalign.data.remote.transfer import again
from pairalign.data.tar import SHARD
from pairalign.data.write import RECORDS
from pairalign.files import sha256_text, write_json

WRITABLE = ("s3", "gs", "gcs", "hf")


@dataclass(frozen=True)
class Upload:
    """A pack on its way to `place`. folder: where its shards are written first."""

    place: Remote

    @property
    def folder(self) -> Path:
        """Of this machine, the same one whenever the same address is packed to."""
        return cache_folder().parent / "packing" / f"{self.place.name}-{sha256_text(self.place.url)[:12]}"

    def check(self, overwrite: bool) -> None:
        """Raise `DataError` where nothing can be written, or a finished pack is and may not be replaced."""
        if self.place.scheme not in WRITABLE or self.place.names:
            known = ", ".join(f"{scheme}://" for scheme in WRITABLE)
            raise DataError(f"{str(self.place)!r} is no place to pack to: give a local folder, or one at {known}.")
        if size_at(self.place, INDEX_NAME) is not None and not overwrite:
            raise DataError(
                f"{str(self.place)!r} already holds a finished pack: choose another address, or overwrite it."
            )

    def prepare(self) -> None:
        """Remove a finished pack, its index first, and what packing noted of it."""
        if size_at(self.place, INDEX_NAME) is None:
            return
        forget_index(self.place)
        shards = [shard.name for split in load_index(self.place).splits.values() for shard in split.shards]
        for name in (INDEX_NAME, *filter(SHARD.fullmatch, shards)):  # no pack calls anything else so
            if size_at(self.place, name) is not None:
                _do(self.place, name, lambda found, address: found.rm_file(address))
        forget_index(self.place)
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, name: str, record: dict[str, Any]) -> None:
        """Send a finished shard, unless that was done before, note it, and remove it here."""
        if not record["count"]:
            return
        if record.get("sent"):
            if size_at(self.place, name) != record["bytes"]:
                where = hide(self.place.file(name))
                raise DataError(f"{where!r} was sent before and is not there any more: pack again with --restart.")
            return
        path = self.folder / name
        _do(self.place, name, lambda found, address: found.put_file(str(path), address))
        if (size := size_at(self.place, name)) != record["bytes"]:
            where = hide(self.place.file(name))
            raise DataError(
                f"{where!r} has {size} of {record['bytes']} bytes after it was sent: run the same pack again."
            )
        write_json(self.folder / RECORDS / f"{name}.json", record | {"sent": True}, indent=None)
        path.unlink()

    def finish(self, index: ShardIndex) -> None:
        """Send the index, remove shards of an earlier plan that it does not name, and forget what was noted."""
        put(self.place, INDEX_NAME, index_bytes(index))
        named = {shard.name for split in index.splits.values() for shard in split.shards}
        noted = {record.name.removesuffix(".json") for record in (self.folder / RECORDS).glob("*.tar.json")}
        for name in sorted(noted - named):
            if size_at(self.place, name) is not None:
                _do(self.place, name, lambda found, address: found.rm_file(address))
        shutil.rmtree(self.folder, ignore_errors=True)


def size_at(place: Remote, name: str) -> int | None:
    """Bytes of a file at an address, None if it is not there."""
    try:
        return int(_do(place, name, lambda found, address: found.info(address)["size"], missing=True))
    except FileNotFoundError:
        return None


def put(place: Remote, name: str, data: bytes) -> None:
    """Write a small file at an address."""
    _do(place, name, lambda found, address: found.pipe_file(address, data))
    forget_index(place)


def _do(place: Remote, name: str, work: Callable[[Any, str], Any], *, missing: bool = False) -> Any:
    address = place.file(name)
    return again(address, lambda: work(filesystem(address), address), missing=missing)
