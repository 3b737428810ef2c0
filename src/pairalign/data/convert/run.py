"""`convert_data`: list a data set, divide it, pack it, and report what was converted, skipped, doubled and exchanged.

Note:
    An interrupted conversion goes on with the same command and gives the same bytes, as long as folder and options are
    the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm

from pairalign.core.arguments import checked
from pairalign.core.bounds import LARGEST, Count, Whole, Within
from pairalign.core.errors import DataError
from pairalign.data.convert.dataset_format import DatasetFormat, check_folder, check_options, find_format
from pairalign.data.convert.group_splits import split_by_group
from pairalign.data.convert.report import Conversion, Skipped, suspected_swaps
from pairalign.data.convert.resize import reduced
from pairalign.data.convert.spool import Changed, Spool
from pairalign.data.encode import ImageFormat
from pairalign.data.index import ShardIndex
from pairalign.data.pack import pack_pairs
from pairalign.data.pack_folder import check_free
from pairalign.runs.lock import alone_at_out


@checked(DataError)
@alone_at_out
def convert_data(
    name: str,
    folder: str | Path,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    shard_samples: Count = 1000,
    workers: Count = 1,
    seed: Whole = 0,
    resize: Annotated[int, Within(8, LARGEST, whole=True)] | None = None,
    image: ImageFormat | None = None,
    limit: Count | None = None,
    strict: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Conversion:
    """Convert a published data set into a shard folder, and write its `conversion.json`.

    Args:
        name: of its format, see `pairalign data convert --help`.
        folder: the data set as its authors publish it.
        out: the shard folder.
        options: of the format.
        shard_samples: samples in one shard file.
        workers: processes.
        seed: of the order of samples and of the splits by object.
        resize: pixels of the shorter side to which larger images are reduced, which re-encodes them as `image` says;
            None stores every file byte for byte.
        image: how pictures are written that are encoded anew.
        limit: convert at most so many samples, the first of the listing.
        strict: raise at the first sample that cannot be converted, instead of leaving it out and reporting it.
        overwrite: replace a finished folder.
        progress: show a bar.

    Returns:
        What was converted and what was left out, with reasons.

    Raises:
        DataError: for an unknown format, a folder of another one, a wrong option, and where nothing is left.
    """
    form, folder, out = find_format(name), Path(folder), Path(out)
    check_options(form, options or {})
    check_folder(form, folder)
    check_free(out, overwrite)
    skipped, sizes, doubles = Skipped(strict), Counter[str](), list[dict[str, Any]]()
    listed = _listed(form.read(folder, skipped, **(options or {})), form, sizes, limit, progress)
    spool = _spooled(listed, out, seed, skipped, f"{str(folder)!r}: no sample of {form.name}")
    parts = split_by_group(sizes, form.shares, seed) if form.split_set else {}

    def finish(sample: dict[str, Any]) -> dict[str, Any]:
        sample = sample if resize is None else reduced(sample, resize)
        divided = {form.split_set: parts[group_of(sample, form)]} if form.split_set else {}
        return {**sample, "splits": {**sample.get("splits", {}), **divided}}

    reported: list[Conversion] = []

    def report(index: ShardIndex) -> None:  # before the pack counts as finished, so that no kill loses it
        suspicions = [*skipped.suspicions, *suspected_swaps(out, index, seed)]
        reported.append(Conversion.of(form, folder, out, index, options or {}, doubles, suspicions))
        reported[0].write()

    pack_pairs(
        Changed(spool, finish),
        out,
        units=_facts(form, next(iter(spool))),
        shard_samples=shard_samples,
        workers=workers,
        seed=None,
        image=image,
        on_bad="fail" if strict else "skip",
        overwrite=overwrite,
        progress=progress,
        licence=form.licence,
        origin=form.source,
        left_out=skipped.entries,
        on_shard=lambda record: doubles.append(record["ids"]),
        on_index=report,
    )
    spool.close()
    return reported[0]


def group_of(sample: Mapping[str, Any], form: DatasetFormat) -> str:
    """What the sample must not be torn apart from; its own key where the data set does not say."""
    value = sample.get(form.whole)
    return str(sample["key"] if value is None else value)


def _listed(
    samples: Iterator[dict[str, Any]], form: DatasetFormat, sizes: Counter[str], limit: int | None, progress: bool
) -> Iterator[dict[str, Any]]:
    """The samples, counted by group."""
    for count, sample in enumerate(tqdm(samples, desc=f"list {form.name}", unit="sample", disable=not progress)):
        if count == limit:
            return
        sizes[group_of(sample, form)] += 1
        yield sample


def _spooled(listed: Iterator[dict[str, Any]], out: Path, seed: int, skipped: Skipped, none: str) -> Spool:
    """The samples, kept in the new folder `out`, which goes again where listing fails or finds nothing."""
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        spool = Spool(listed, out, seed)
        if not len(spool.places):
            first = f" First: {skipped.entries[0][0]}: {skipped.entries[0][1]}" if skipped.entries else ""
            raise DataError(f"{none} is left to convert.{first}")
        return spool
    except BaseException:
        if made:
            out.rmdir()
        raise


def _facts(form: DatasetFormat, sample: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The format's facts of the modalities that there are; which way is up, and what the columns of points are, may
    depend on the form that was found and on what was asked of it.
    """
    meta = sample.get("meta", {})
    own = {"up": meta["up"]} if "up" in meta else {}
    own |= {"axes": ("point", meta["columns"])} if "columns" in meta else {}
    found = {name: dict(facts) for name, facts in form.facts.items() if name in sample}
    return {name: facts | (own if name == "points" else {}) for name, facts in found.items()}
