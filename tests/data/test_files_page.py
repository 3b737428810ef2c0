"""`docs/files.md` says what the code says, and what it says of every format holds for a real file."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_files import small_file

from pairalign.data.files_page import TOLD, files_page
from pairalign.data.formats import FORMATS, REFUSED
from pairalign.data.kinds import kind_of, main_value
from pairalign.data.pack import pack_pairs
from pairalign.data.picture import rgb_picture
from pairalign.data.shards import read_samples
from pairalign.data.video import VideoFrames

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
SPELT = {**dict.fromkeys(("jpeg", "jpe", "jfif", "mpo"), "jpg"), "apng": "png"}  # one name for one content
EXTRAS = {"audio": "soundfile", "mesh": "trimesh", "video": "av"}


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == files_page(), "run: python -m pairalign.data.files_page > docs/files.md"


def test_every_format_has_a_row_and_every_refused_one_its_advice() -> None:
    page = files_page()
    assert all(f"`.{name}`" in page for name in (*FORMATS, *REFUSED))
    assert {entry.family for entry in FORMATS.values()} == set(TOLD)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_of_every_format_becomes_what_the_page_says(tmp_path: Path, extension: str) -> None:
    entry = FORMATS[extension]
    if entry.extra:
        pytest.importorskip(EXTRAS[entry.extra])
    path = small_file(tmp_path, extension)
    folder = tmp_path / "out"
    index = pack_pairs([{"key": "a", "thing": path, "pair": "a word"}], folder, progress=False)
    info = index.modalities["thing"]
    sample = next(iter(read_samples(folder, "train", ["thing"])))
    value = main_value(sample.values["thing"])
    assert kind_of(value, info) == TOLD[entry.family].kind
    if entry.stored == "as it is":
        assert info.ext == (SPELT.get(extension, extension),)
        assert _stored_bytes(folder) == path.read_bytes()
    else:
        assert info.ext == {"npy": ("npy",), "frames": ("jpg",)}[entry.stored]
    if entry.family == "picture":
        assert rgb_picture(value).size == ((1024, 1024) if entry.plugin == "ICNS" else (16, 16))  # its largest
    if entry.family == "video":
        assert len(info.parts) == VideoFrames().count
        assert len(sample.meta["frames"]["thing"]["seconds"]) == VideoFrames().count
    if entry.family == "sound":
        assert info.rate == 48000


def _stored_bytes(folder: Path) -> bytes:
    sample = next(iter(read_samples(folder, "train", ["thing"], raw=True)))
    value: bytes = sample.values["thing"]
    return value
