"""What is taken for a file, and what is said of one that is not read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import DECODERS
from pairalign.data.formats import FORMATS, PLUGINS, REFUSED, STORED, extension_of, known_extension, names_file
from pairalign.data.manifest import Manifest
from pairalign.data.pack import pack_pairs


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("a/b.webp", True),
        ("My photo.JPG", True),
        ("0.npy ", True),
        ("0.ply;", True),
        ("scan.npz::points", True),
        ("light.off", True),
        ("a red mug", False),
        ("turn it.off", False),
        ("3.5", False),
        ("version 1.2", False),
        ("", False),
    ],
)
def test_a_text_names_a_file_by_its_ending(cell: str, file: bool) -> None:
    assert names_file(cell) == file


def test_extensions_are_read_without_regard_to_case_and_members() -> None:
    assert [extension_of(name) for name in ("a.JPG", "b.npz::x.y", "c")] == ["jpg", "npz", ""]


@pytest.mark.parametrize("extension", sorted(REFUSED))
def test_a_known_format_that_is_not_read_says_what_to_do(extension: str) -> None:
    assert extension not in FORMATS
    with pytest.raises(DataError, match=rf"\.{extension} is not read: .+"):
        known_extension(extension, "file")


def test_an_unknown_format_names_the_nearest_or_all_that_are_read() -> None:
    with pytest.raises(DataError, match="Did you mean 'webp'"):
        known_extension("webpp", "file")
    with pytest.raises(DataError, match=r"type \.foo are not read\. What is read: jpg, .*ply.*mp4"):
        known_extension("foo", "file")
    with pytest.raises(DataError, match="cannot be stored as it is"):
        known_extension("ply", "bytes", STORED)


def test_every_format_that_a_shard_keeps_has_a_decoder() -> None:
    assert set(DECODERS) == set(STORED)


def test_no_plugin_is_used_that_runs_a_program_or_opens_other_files() -> None:
    assert not set(PLUGINS) & {"EPS", "WMF", "IPTC", "FPX", "MIC", "PDF", "MPEG", "FITS", "HDF5", "GRIB", "BUFR"}


def write(folder: Path, cells: list[str]) -> Path:
    path = folder / "m.jsonl"
    path.write_text("\n".join(json.dumps({"key": f"k{i}", "data": cell}) for i, cell in enumerate(cells)))
    return path


@pytest.mark.parametrize("name", ["a.webp", "a.tiff", "a.bmp", "a.gif"])
def test_other_pictures_are_packed_as_they_are(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    index = pack_pairs(write(tmp_path, [name]), tmp_path / "out", progress=False)
    assert index.modalities["data"].ext == (name[2:],)
    assert index.modalities["data"].shape[:2] == (16, 16)  # type: ignore[index]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("a.pcd", r"\.pcd is not read: save it as PLY"),
        ("a.foo", r"type \.foo are not read"),
        ("a.h5", r"\.h5 is not read"),
        ("missing.flac", "does not exist"),
    ],
)
def test_a_file_that_is_not_read_is_refused_by_name_and_is_no_caption(tmp_path: Path, cell: str, words: str) -> None:
    if not cell.startswith("missing"):
        (tmp_path / cell).write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        Manifest(write(tmp_path, [cell])).read()


def test_a_stray_character_behind_a_name_is_no_caption(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.arange(4.0))
    with pytest.raises(DataError, match=r"take away what stands around .0\.npy."):
        Manifest(write(tmp_path, ["0.npy\u00a0"])).read()


def test_an_array_of_an_archive_is_named_in_a_manifest(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", touch=np.arange(4.0), other=np.arange(5.0))
    index = pack_pairs(write(tmp_path, ["a.npz::touch"]), tmp_path / "out", progress=False)
    assert (index.modalities["data"].ext, index.modalities["data"].shape) == (("npy",), (4,))
    with pytest.raises(DataError, match=r"which of its arrays.*other, touch.*name one as file\.npz::NAME"):
        pack_pairs(write(tmp_path, ["a.npz"]), tmp_path / "second", progress=False)
