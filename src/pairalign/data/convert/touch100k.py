"""Touch100k (arXiv:2406.03813): tactile images, camera images, and descriptions as a sentence and as phrases.

    touch100k/data_list.json            JSON lines {"img": …, "sentence_desc": …, "phrase_desc": …}
    touch100k/{touch,vision}/<img>      the same name on both sides

Where it bites: no official split is published, so every sample is "train" there; use the division "by_recording". A
recording is known only where a file's name tells: the longest part of it before a last number. Where that is not so,
frames of one recording may fall on both sides, and the audit's near-duplicates tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.data.convert.layout import Listing, Skip, first_match, register_layout
from pairalign.errors import DataError

LIST = "data_list.json|touch100k/data_list.json"
LAST_NUMBER = re.compile(r"[_\-./ ]?\d+$")
FIELDS = {"sentence": "sentence_desc", "phrase": "phrase_desc"}


@register_layout(
    "touch100k",
    title="Touch100k: tactile and camera images with a sentence and phrases",
    source="https://github.com/cocacola-lab/TLV-Link (arXiv:2406.03813)",
    licence="as stated with the data; it is drawn from other touch data sets, whose terms hold too",
    marks=(LIST, "touch|touch100k/touch", "vision|touch100k/vision"),
    facts={"touch": {"unit": "1", "sensor": "GelSight"}, "image": {"unit": "1"}},
    whole="session",
    division="by_recording",
)
def read(folder: Path, skip: Skip, *, text: str = "sentence") -> Listing:
    """Samples of the list. text: "sentence" or "phrase", which is the caption; the other goes into meta."""
    if text not in FIELDS:
        raise DataError(f"option text={text!r} of 'touch100k': use 'sentence' or 'phrase'.")
    path = first_match(folder, LIST)
    assert path is not None  # a mark
    other = next(name for name in FIELDS if name != text)
    seen: set[str] = set()
    for entry in _entries(path):
        name = str(entry["img"])
        caption = str(entry.get(FIELDS[text]) or "").strip()
        sides = {"touch": path.parent / "touch" / name, "image": path.parent / "vision" / name}
        missing = [side for side, file in sides.items() if not file.is_file()]
        if name in seen:
            skip(name, f"named twice: {name} stands in the list more than once")
        elif missing:
            skip(name, f"missing {missing[0]} file: {name}")
        elif not caption:
            skip(name, f"empty caption: {FIELDS[text]}")
        else:
            stem = name.rpartition(".")[0]
            kept = {other: entry[FIELDS[other]]} if entry.get(FIELDS[other]) else {}
            recording = LAST_NUMBER.sub("", stem) or stem
            yield {"key": stem, **sides, "text": caption, "session": recording, "split": "train", "meta": kept}
        seen.add(name)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of JSON lines, or of one JSON list."""
    with path.open(encoding="utf-8-sig") as stream:
        start = stream.read(1)
        stream.seek(0)
        lines = enumerate(json.load(stream), start=1) if start == "[" else _parsed(stream, path)
        for number, entry in lines:
            if not isinstance(entry, dict) or not entry.get("img"):
                raise DataError(f"{path.name} entry {number}: has no 'img': write {{img, sentence_desc, phrase_desc}}.")
            yield entry


def _parsed(stream: Any, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name} line {number}: no valid JSON ({error}).") from error
