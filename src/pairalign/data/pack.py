"""Packing pairs into WebDataset shards: deterministic, parallel, resumable, atomic.

The same samples and options give the same bytes, whatever the number of workers and however often it was
interrupted.

Note:
    With a manifest or list the samples are shuffled once by `seed`, so that a manifest sorted by class does not make
    shards of one class; an iterator keeps its own order. With workers > 1 a script needs `if __name__ == "__main__":`,
    as for any process pool.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import length_hint
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import DataError, StorageError, did_you_mean
from pairalign.data.encode import ImageFormat
from pairalign.data.geometric import GeometricSamples, is_geometric
from pairalign.data.index import ShardIndex, save_index
from pairalign.data.manifest import Manifest
from pairalign.data.pack_folder import check_free, prepare, remove_unnamed
from pairalign.data.place import Remote, find_place
from pairalign.data.preview import ROWS as PREVIEWED
from pairalign.data.preview import preview
from pairalign.data.rates import of_one_rate
from pairalign.data.remote.upload import Upload
from pairalign.data.rows import Row, Split, check_modalities, rows_from
from pairalign.data.summary import condensed, summarise
from pairalign.data.video import VideoFrames
from pairalign.data.write import (
    ShardTask,
    WriteOptions,
    finished_record,
    full_disk,
    write_shard,
)
from pairalign.files import DISK_FULL
from pairalign.runs.lock import alone

NAMED = 20  # bad rows that a preview lists
FACTS = ("unit", "rate", "axes", "sensor", "up")
Source = str | Path | Manifest | Iterable[Mapping[str, Any]]


@checked(DataError)
def pack_pairs(
    source: Source,
    out: str | Path,
    *,
    modalities: Sequence[str] | Mapping[str, str] | None = None,
    units: Mapping[str, Mapping[str, Any]] | None = None,
    split: Split = None,
    shard_samples: Count = 1000,
    workers: Count = 1,
    seed: Whole | None = 0,
    image: ImageFormat | None = None,
    video: VideoFrames | None = None,
    on_bad: Literal["fail", "skip"] = "fail",
    allow_constant: Sequence[str] = (),
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    licence: str | None = None,
    origin: str | None = None,
    synthetic: bool = False,
    left_out: Sequence[tuple[str, str]] = (),
    on_shard: Callable[[dict[str, Any]], None] | None = None,
    on_index: Callable[[ShardIndex], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> ShardIndex:
    """Write samples as shards into a folder.

    Args:
        source: a manifest (JSON lines or CSV; a `Manifest` to say how to read it), or dicts: a value by modality
            (image, array, text, `Path`, or parts of these), and optionally "key", "label", "group", "session", "split",
            "splits", "meta"; or a data set of torch-geometric, see `GeometricSamples`.
        out: a folder, or the address of one in a bucket, to which each shard is sent when it is done, and the index
            last.
        modalities: names to pack, or column by name for the path of a manifest; None takes those of the first sample.
        units: {"touch": {"unit": "kPa", "rate": 100.0, "axes": ("time",)}}, recorded in the index; rates in Hz. Also
            "sensor" and "up".
        split: one name for all, or shares by name ({"train": 0.9, "val": 0.1}, by group if there is one), or None for
            each sample's own.
        shard_samples: samples in one shard file.
        workers: processes that encode.
        seed: of the shuffle and of shares; None keeps the order.
        image: how pictures that are no files are written.
        video: which frames of a video are stored.
        on_bad: "skip" lists bad samples in the index.
        allow_constant: modalities whose samples may be one value throughout, which is a bad sample else.
        resume: keep shards that an interrupted run finished from the same input.
        overwrite: replace a finished folder.
        progress: show a bar.
        licence: of the data, for the index.
        origin: where the data is from.
        synthetic: the data is made, not measured, and reports will say so.
        left_out: (key, reason) of what the caller skipped, for the index.
        on_shard: called with the record of each shard: content ids by modality, counts, ranges.
        on_index: called with the finished index; whatever ends before it returned is an interrupted pack.
        say: called with how a manifest is read and what its first rows hold, before anything is written; None prints it
            where there is a progress bar.

    Returns:
        The index of the folder.

    Raises:
        DataError: for empty input, a bad sample, a full disk; nothing half-written stays behind.

    Example:
        >>> import tempfile, numpy, pairalign as pa
        >>> touches = numpy.random.default_rng(0).normal(size=(4, 16, 100)).astype("float32")
        >>> rows = [{"glove": touch, "text": f"touch {n}"} for n, touch in enumerate(touches)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = pa.pack_pairs(rows, folder + "/shards", units={"glove": {"unit": "kPa"}}, progress=False)
        ...     sum(split.count for split in index.splits.values())
        4
    """
    place = find_place(out)
    upload = Upload(place) if isinstance(place, Remote) else None
    out = upload.folder if upload is not None else Path(out)
    if on_bad not in ("fail", "skip"):
        raise DataError(f"on_bad={on_bad!r}: use 'fail' or 'skip'.")
    options = WriteOptions(image or ImageFormat(), on_bad, tuple(sorted(allow_constant)), video or VideoFrames())
    skipped = list(left_out)
    note = (lambda key, reason: skipped.append((key, reason))) if on_bad == "skip" else None
    if is_geometric(source):
        source = GeometricSamples(source, seed=seed)
    if isinstance(source, GeometricSamples):
        units = source.facts(units)
    listed = isinstance(source, (str, Path, Manifest))
    say = say or (tqdm.write if progress and listed else None)
    with alone(out):
        if upload is not None:
            upload.check(overwrite)
        check_free(out, overwrite)
        samples, names = _samples(source, modalities, units or {}, seed, note, say)
        rows = _checked(rows_from(samples, names, split, seed or 0, note), units or {}, allow_constant)
        if say is not None:
            rows = _shown(rows, options, units or {}, say)
        if upload is not None:
            upload.prepare()
        prepare(out, resume=resume)
        total = length_hint(samples if listed else source) or None
        with _disk_told(out):
            with tqdm(total=total, desc=f"pack {place.name}", unit="sample", disable=not progress) as bar:
                written = _write_all(_tasks(rows, out, shard_samples, options), workers, bar)
                records = _recorded(written, upload, on_shard)
            described = {"licence": licence, "source": origin, "synthetic": synthetic}
            index = summarise(records, skipped, units or {}, described)
            if upload is not None:
                upload.finish(index)
            else:
                save_index(index, out)
                if on_index is not None:
                    on_index(index)
                remove_unnamed(out, index)
    return index


def preview_pairs(
    source: Source,
    *,
    modalities: Sequence[str] | Mapping[str, str] | None = None,
    units: Mapping[str, Mapping[str, Any]] | None = None,
    split: Split = None,
    seed: int | None = 0,
    image: ImageFormat | None = None,
    video: VideoFrames | None = None,
    on_bad: Literal["fail", "skip"] = "fail",
    allow_constant: Sequence[str] = (),
) -> str:
    """What `pack_pairs` would understand of the same arguments, and what the first rows would hold; writes nothing."""
    options = WriteOptions(image or ImageFormat(), on_bad, tuple(sorted(allow_constant)), video or VideoFrames())
    said: list[str] = []
    skipped: list[tuple[str, str]] = []
    note = (lambda key, reason: skipped.append((key, reason))) if on_bad == "skip" else None
    samples, names = _samples(source, modalities, units or {}, seed, note, said.append)
    rows = _checked(rows_from(samples, names, split, seed or 0, note), units or {}, allow_constant)
    _shown(rows, options, units or {}, said.append)
    more = [f"… {len(skipped) - NAMED} more are bad"] if len(skipped) > NAMED else []
    return "\n".join([*said, *(f"skipped {key!r}: {reason}" for key, reason in skipped[:NAMED]), *more])


@contextmanager
def _disk_told(out: Path) -> Iterator[None]:
    """Faults of the disk within it as what they are to a pack."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise full_disk(error, repr(error.filename or str(out))) from error
        raise
    except StorageError as error:
        raise DataError(f"{error} Finished shards are kept.") from error


def _recorded(
    written: Iterable[tuple[str, str, dict[str, Any]]],
    upload: Upload | None,
    on_shard: Callable[[dict[str, Any]], None] | None,
) -> list[tuple[str, str, dict[str, Any]]]:
    """What the index is made from, of all shards, each sent and told of when it is done."""
    records = []
    for part, name, record in written:
        if upload is not None:
            upload.send(name, record)
        records.append((part, name, condensed(part, record)))
        if on_shard is not None:
            on_shard(records[-1][2])
    return records


def _shown(
    rows: Iterator[Row], options: WriteOptions, units: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]
) -> Iterator[Row]:
    """The same rows, once it was said what the first of them hold."""
    first = list(itertools.islice(rows, PREVIEWED))
    if first:
        say(preview(first, options, units))
    return itertools.chain(first, rows)


def _samples(
    source: Source,
    modalities: Any,
    units: Mapping[str, Mapping[str, Any]],
    seed: int | None,
    on_bad: Callable[[str, str], None] | None,
    say: Callable[[str], None] | None,
) -> tuple[Iterable[tuple[int, Mapping[str, Any]]], list[str] | None]:
    """Numbered samples, shuffled where they can be, and the modalities to pack of each."""
    if isinstance(source, (str, Path)):
        if modalities is not None and not isinstance(modalities, Mapping):
            modalities = {name: name for name in modalities}
        source, modalities = Manifest(source, modalities), None
    samples: Iterable[Mapping[str, Any]]
    if isinstance(source, Manifest):
        table = source.table(on_bad)
        if say is not None:
            say(table.text())
        samples = list(table.samples(on_bad))
    else:
        samples = source
    names = None if modalities is None else check_modalities(list(modalities))
    if not isinstance(samples, Sequence):
        return enumerate(samples), names
    numbered = of_one_rate(list(enumerate(samples)), units, on_bad)
    if seed is not None:
        random.Random(seed).shuffle(numbered)
    return numbered, names


def _checked(
    rows: Iterator[Row], units: Mapping[str, Mapping[str, Any]], allow_constant: Sequence[str]
) -> Iterator[Row]:
    """The rows, once the first has shown that every modality the options speak of exists."""
    for name, info in units.items():
        for key in info.keys() - set(FACTS):
            raise DataError(f"units of {name!r} hold {key!r}.{did_you_mean(key, FACTS)}")
        if info.get("up") is not None and str(info["up"]).lstrip("+-") not in ("x", "y", "z"):
            raise DataError(
                f"units of {name!r}: up={info['up']!r}: give the axis that points up, such as '+z' or '-y'."
            )
    for number, row in enumerate(rows):
        if not number:
            known = {field.partition(".")[0] for field in row.fields}
            for name in (*units, *allow_constant):
                if name not in known:
                    raise DataError(f"units or allow_constant name {name!r}, not packed.{did_you_mean(name, known)}")
        yield row


def _tasks(rows: Iterator[Row], out: Path, size: int, options: WriteOptions) -> Iterator[tuple[str, ShardTask]]:
    waiting: dict[str, list[Row]] = {}
    made: dict[str, int] = {}
    for row in rows:
        waiting.setdefault(row.cell, []).append(row)
        if len(waiting[row.cell]) == size:
            yield row.split, _task(row.cell, waiting.pop(row.cell), made, out, options)
    for cell, left in sorted(waiting.items()):
        yield left[0].split, _task(cell, left, made, out, options)
    if not made:
        raise DataError("there is nothing to pack: the source holds no sample, or none that has every side.")


def _task(cell: str, rows: list[Row], made: dict[str, int], out: Path, options: WriteOptions) -> ShardTask:
    number = made[cell] = made.get(cell, -1) + 1
    return ShardTask(out, f"{cell}-{number:06d}.tar", rows, options)


def _write_all(
    tasks: Iterator[tuple[str, ShardTask]], workers: int, bar: Any
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(split, shard name, record) of every shard, in order."""
    if workers == 1:
        for split, task in tasks:
            plan = task.plan()
            record = finished_record(task, plan) or write_shard(task, plan)
            bar.update(len(task.rows))
            yield split, task.name, record
        return
    from pairalign.data.parallel import write_in_processes

    yield from write_in_processes(tasks, workers, bar)
