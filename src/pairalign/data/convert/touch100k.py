"""Touch100k (Cheng et al. 2024, arXiv:2406.03813): GelSight and camera frames with a sentence and with phrases.

    touch100k/data_list.json             a JSON object a line: {"img", "sentence_desc", "phrase_desc"}; or one list
    touch100k/{touch,vision}/<img>       the same name on both sides

Note:
    There is no official split, so everything is "train". Frames come from the recordings of older data sets and the
    list does not say which; a recording is known only by a folder in `img`, or by the stamp of a Touch and Go recording
    in its name. All other frames count as one recording, so that "by_recording" never splits an unknown one; if none is
    known, that split set has no other side. Captions are a language model's, not a person's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import parse_json
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, present, register_format

TABLE = "data_list.json|touch100k/data_list.json"
CAPTIONS = {"sentence": "sentence_desc", "phrase": "phrase_desc"}
STAMP = re.compile(r"(?<!\d)\d{8}_\d{6}(?!\d)")
UNKNOWN = "unknown"


@register_format(
    "touch100k",
    title="Touch100k: GelSight and camera frames with sentences and phrases",
    source="https://github.com/cocacola-lab/TLV-Link (arXiv:2406.03813)",
    licence="CC BY-NC 4.0",
    marks=(TABLE, "touch|touch100k/touch", "vision|touch100k/vision"),
    facts={"touch": {"unit": "1", "sensor": "GelSight"}, "image": {"unit": "1"}},
    whole="session",
    split_set="by_recording",
)
def read(folder: Path, skip: Skip, *, text: str = "sentence") -> Listing:
    """Frames of the list. text: the caption to pack, "sentence" or "phrase"; the other one is kept in the meta data."""
    if text not in CAPTIONS:
        raise DataError(f"option text={text!r} of 'touch100k' is unknown.{did_you_mean(text, CAPTIONS)}")
    table = first_match(folder, TABLE)
    assert table is not None  # a mark
    other = next(name for name in CAPTIONS if name != text)
    seen: dict[str, int] = {}
    unknown = 0
    for number, entry in _entries(table):
        name = _name(entry, number)
        key = os.path.splitext(name)[0]
        if key in seen:
            skip(name, f"listed twice: {table.name} entries {seen[key]} and {number}")
            continue
        seen[key] = number
        captions = {kind: _caption(entry, field) for kind, field in CAPTIONS.items()}
        if not captions[text]:
            skip(name, f"no {text}: its {CAPTIONS[text]} is empty")
            continue
        home = table.parent
        files = present({"image": home / "vision" / name, "touch": home / "touch" / name}, home, name, skip)
        if files:
            session = _recording(name)
            unknown += session == UNKNOWN
            meta = {other: captions[other]} if captions[other] else {}
            yield {"key": key, **files, "text": captions[text], "session": session, "meta": meta}
    if unknown:
        skip.suspect(f"the recording of {unknown} frames is unknown: by_recording counts them as one.")


def _entries(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered entries of JSON lines, read line by line, or of one JSON list; raise `DataError` for what is neither."""
    with table.open(encoding="utf-8-sig") as stream:
        start = stream.read(1024).lstrip()[:1]
        stream.seek(0)
        try:
            if start == "[":
                lines: Iterator[tuple[int, Any]] = enumerate(parse_json(stream.read(), table.name, "table"), start=1)
            else:
                lines = ((number, parse_json(line)) for number, line in enumerate(stream, start=1) if line.strip())
            number = 0
            for number, entry in lines:
                if not isinstance(entry, dict):
                    raise DataError(f"{table.name} entry {number} is a {type(entry).__name__}: write an object.")
                yield number, entry
        except ValueError as error:  # JSON and UTF-8
            raise DataError(f"{table.name} is damaged after entry {number} ({error}): copy it again.") from error


def _name(entry: dict[str, Any], number: int) -> str:
    """The file's name; raise `DataError` for none, or for one that leaves the folder."""
    name = entry.get("img")
    if not isinstance(name, str) or not name:
        raise DataError(f"data_list.json entry {number} has no 'img'.{did_you_mean('img', entry)}")
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == "..":
        raise DataError(f"data_list.json entry {number}: img {name!r} leaves the folder: correct it.")
    return plain


def _caption(entry: dict[str, Any], field: str) -> str:
    """One caption; a list of phrases is joined, all else is none."""
    value = entry.get(field)
    if isinstance(value, list):
        value = ", ".join(str(part).strip() for part in value)
    return value.strip() if isinstance(value, str) else ""


def _recording(name: str) -> str:
    """What the name tells of the recording that a frame is from."""
    folder, base = os.path.split(name)
    stamp = STAMP.search(base)
    return folder or (stamp[0] if stamp else UNKNOWN)
