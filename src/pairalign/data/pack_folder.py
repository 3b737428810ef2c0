"""The folder of a pack: whether it is free, what an earlier or interrupted pack left there, and what goes at the end.

Note:
    Nothing is removed that no pack wrote; a finished folder that is packed anew is an interrupted pack first, so that
    no kill leaves an index beside shards that it does not name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pairalign.core.errors import DataError
from pairalign.data.index import INDEX_NAME, ShardIndex, load_index
from pairalign.data.tar import is_packed
from pairalign.data.write import RECORDS, full_disk
from pairalign.files import remove_leftovers, write_text


def is_finished(out: Path) -> bool:
    """Whether a folder holds a finished pack: an index, and no records any more, which go last."""
    return (out / INDEX_NAME).exists() and not (out / RECORDS).exists()


def check_free(out: Path, overwrite: bool) -> None:
    """Raise `DataError` where shards cannot be written into a folder."""
    if is_finished(out) and not overwrite:
        raise DataError(f"{str(out)!r} already holds a finished pack: choose another folder, or overwrite it.")
    if out.exists() and not out.is_dir():
        raise DataError(f"{str(out)!r} is a file: give a folder to write shards into.")


def prepare(out: Path, *, resume: bool) -> None:
    """Make the folder that of an interrupted pack; without `resume`, of one that has finished nothing."""
    index = load_index(out) if (out / INDEX_NAME).exists() else None
    _check_ours(out, index)
    if not resume:
        _remove_records(out)
    try:
        (out / RECORDS).mkdir(parents=True, exist_ok=True)
        if index is not None:
            _take_back(out, index)
    except OSError as error:
        raise full_disk(error, repr(str(out))) from error
    for folder in (out, out / RECORDS):  # of a run that was killed
        remove_leftovers(folder)


def _check_ours(out: Path, index: ShardIndex | None) -> None:
    """Raise `DataError` before anything is removed where an index names what no pack wrote: it may be a stranger's."""
    shards = [] if index is None else [shard.name for split in index.splits.values() for shard in split.shards]
    for name in shards:
        if ((out / name).exists() or (out / name).is_symlink()) and not is_packed(out / name):
            raise DataError(f"{str(out / name)!r} was not written by a pack, and is not replaced: give another folder.")
    if (out / RECORDS).is_symlink():
        raise DataError(f"{str(out / RECORDS)!r} is a link, which no pack makes: remove it, or choose another folder.")


def _remove_records(out: Path) -> None:
    """Remove what packing noted, and nothing else that lies there."""
    for record in (out / RECORDS).glob("*.tar.json"):
        record.unlink(missing_ok=True)
    remove_leftovers(out / RECORDS)
    with suppress(OSError):  # somebody else's files are there
        (out / RECORDS).rmdir()


def _take_back(out: Path, index: ShardIndex) -> None:
    """Make a finished folder an interrupted pack: shards without a record are noted, then the index goes, then they."""
    shards = [shard.name for split in index.splits.values() for shard in split.shards]
    unknown = [name for name in shards if not (out / RECORDS / f"{name}.json").exists()]
    for name in unknown:
        write_text(out / RECORDS / f"{name}.json", "{}")  # so that no shard stays for ever, however this ends
    for name in (INDEX_NAME, *unknown):
        (out / name).unlink(missing_ok=True)


def remove_unnamed(out: Path, index: ShardIndex) -> None:
    """Drop the records, and shards of an earlier plan that the index does not name."""
    named = {shard.name for split in index.splits.values() for shard in split.shards}
    for record in (out / RECORDS).glob("*.tar.json"):
        if record.stem not in named and is_packed(out / record.stem):
            (out / record.stem).unlink(missing_ok=True)
    _remove_records(out)
