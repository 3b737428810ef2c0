"""PhysiCLeAR (Octopi, Yu et al. 2024, arXiv:2405.02794): GelSight videos of one object each, and its properties.

    dataset/<object>_<k>.mov                            as published; needs the extra `video`
    physiclear_<object>_<n>/<10 digits>.jpg             as Octopi's own processing writes them, beside
    {train,val,test}_samples.json                       {object: [folders]}
    utils/constants.py                                  Octopi's tables: split and words for the properties, by object

Where folders and videos lie side by side, the folders are read. Properties come from that constants.py, which is read
and never run; put it into the folder if it is not there.

Note:
    N counts files in the order of a disk and is not k. Parts of one thing are objects of their own, and the official
    split parts them: a hairbrush's handle is in test, the sides of its bristles in train. Every recording starts and
    ends without contact, when all objects look alike, so that few frames from the middle are better than all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import parse_json
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.convert.octopi_tables import CONSTANTS, SPLITS, OctopiTables, bare_name
from pairalign.data.convert.video import frame_times, need_av, read_frame
from pairalign.data.made import Made

FOLDERS = ("physiclear_*_[0-9]*", "*/physiclear_*_[0-9]*")
VIDEOS = ("*_[0-9]*.mov", "*/*_[0-9]*.mov")
NAME = re.compile(r"(?:physiclear_)?(.+)_(\d+)")


@register_format(
    "physiclear",
    title="PhysiCLeAR: GelSight videos of everyday objects with hardness, roughness and texture",
    source="https://github.com/clear-nus/octopi (arXiv:2405.02794)",
    licence="no licence stated with the data: ask the authors before you redistribute",
    marks=("|".join([*(f"{pattern}/*.jpg" for pattern in FOLDERS), *VIDEOS]),),
    facts={"touch": {"unit": "1", "sensor": "GelSight Mini"}},
)
def read(
    folder: Path,
    skip: Skip,
    *,
    frames: int = 5,
    every: int = 1,
    text: str = "This feels {hardness} and {roughness}, with {texture}.",
    name: str = "This feels like {object}.",
) -> Listing:
    """Frames of every recording. every: keep each so-manieth frame; frames: of these, the middles of so many equal
    stretches, 0 for all. text: caption from properties, for the objects that have them; name: for all, where there are
    no properties.
    """
    if frames < 0 or every < 1:
        raise DataError(f"frames={frames}, every={every}: give 0 or more frames, and every at least 1.")
    table = first_match(folder, CONSTANTS)
    known = OctopiTables.read(table) if table else OctopiTables()
    option, template = ("text", text) if known.properties else ("name", name)
    _check_template(option, template, {"object", *known.properties})
    recordings = list(_recordings(folder, skip))
    split_of = _splits(folder, recordings, known, skip)
    for recording in recordings:
        label = {"object": recording.object} | known.label(recording.object)
        if (known.properties.keys() - label.keys()) & _fields(template):
            skip(recording.name, f"no properties: the tables lack {recording.object}")
            continue
        words = label | {"object": known.words(recording.object)}
        times = _listed(recording, skip)
        kept = _spread(range(0, len(times), every), frames)
        for place in kept:
            number, value = times[place]
            yield {
                "key": f"{recording.name}/{number:010d}",
                "touch": value,
                "text": template.format(**words),
                "label": label,
                "group": recording.object,
                "session": recording.name,
                "split": split_of[recording.name],
            }


@dataclass(frozen=True)
class Recording:
    """One touch. place: its folder of frames, or its video."""

    name: str
    object: str
    place: Path


def _recordings(folder: Path, skip: Skip) -> Iterator[Recording]:
    """Every folder of frames, or else every video, by name; a name that is found in several folders gets its folder."""
    found: list[Path] = []
    for pattern in (*FOLDERS, *VIDEOS):
        found = found or sorted(path for path in folder.glob(pattern) if path.is_dir() == (pattern in FOLDERS))
    if found and found[0].is_file():
        need_av()
    several = len({path.parent for path in found}) > 1
    for path in found:
        match = NAME.fullmatch(path.stem)
        name = bare_name(path.stem)
        if match is None:
            skip(path.stem, "strange name: no object_number")
            continue
        yield Recording(f"{path.parent.name}/{name}" if several else name, match[1], path)


def _listed(recording: Recording, skip: Skip) -> list[tuple[int, Path | Made]]:
    """(number, value) of every frame of a recording, in order."""
    if recording.place.is_dir():
        files = (path for path in recording.place.glob("*.jpg") if path.stem.isdecimal())
        found: list[tuple[int, Path | Made]] = sorted((int(path.stem), path) for path in files)
    else:
        try:
            times = frame_times(recording.place)
        except DataError as error:
            skip(recording.name, f"unreadable video: {error}")
            return []
        found = [(number, Made(read_frame, (recording.place, time))) for number, time in enumerate(times)]
    if not found:
        skip(recording.name, "no frames: the recording is empty")
    return found


def _spread(places: range, count: int) -> list[int]:
    """The middles of `count` equal stretches; all where there are no more, or where `count` is 0."""
    if not count or len(places) <= count:
        return list(places)
    return [places[int(len(places) * (i + 0.5) / count)] for i in range(count)]


def _splits(folder: Path, recordings: list[Recording], known: OctopiTables, skip: Skip) -> dict[str, str]:
    """Split by recording: from the lists for folders of frames, else by object, else "train"; "unlisted" for others."""
    listed: dict[str, str] = {}
    for split in SPLITS:
        path = first_match(folder, f"{split}_samples.json|*/{split}_samples.json")
        for name in _samples(path) if path else ():
            if listed.setdefault(name, split) != split:
                raise DataError(f"{name!r} is in {listed[name]}_samples.json and in {split}_samples.json: correct one.")
    if listed and recordings and recordings[0].place.is_dir():
        there = {recording.place.name for recording in recordings}
        for name in listed.keys() - there:
            skip(bare_name(name), f"missing recording: {listed[name]}_samples.json lists it")
        return {recording.name: listed.get(recording.place.name, "unlisted") for recording in recordings}
    if known.splits:
        return {recording.name: known.splits.get(recording.object, "unlisted") for recording in recordings}
    return {recording.name: "train" for recording in recordings}


def _samples(path: Path) -> list[str]:
    """The folders' names of one list of samples."""
    try:
        table = parse_json(path.read_bytes(), path.name, "table")
        return [Path(place).name for places in table.values() for place in places]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path.name!r} is no object of lists of folders ({error}): copy it again.") from error


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(template) if field is not None}


def _check_template(option: str, template: str, known: set[str]) -> None:
    try:
        fields = _fields(template)
    except ValueError as error:
        raise DataError(f"option {option}={template!r}: {error}.") from error
    if not fields:
        raise DataError(f"option {option}={template!r} says the same of everything: use {', '.join(sorted(known))}.")
    for field in fields - known:
        raise DataError(f"option {option}={template!r} names {field!r}.{did_you_mean(field, known)}")
