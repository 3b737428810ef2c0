"""Writing and scanning tars against the standard library's own reader."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.core.errors import DataError
from pairalign.data.tar import encode_key, scan, write_end, write_sample

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
FIELDS = st.dictionaries(st.sampled_from(["a.jpg", "b.00.npy", "meta.json", "t.txt"]), st.binary(max_size=1500))


def written(samples: dict[str, dict[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    for key, fields in samples.items():
        write_sample(stream, key, fields.items())
    write_end(stream)
    return stream.getvalue()


def scanned(data: bytes, path: Path) -> list:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return scan(descriptor, path.name)
    finally:
        os.close(descriptor)


@settings(max_examples=60, deadline=None)
@given(samples=st.dictionaries(KEYS, FIELDS.filter(bool), max_size=5))
def test_what_is_written_is_what_tarfile_and_the_scan_read(
    samples: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = written(samples)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        stored = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    assert stored == {
        f"{encode_key(key)}.{field}": value for key, fields in samples.items() for field, value in fields.items()
    }
    entries = scanned(data, tmp_path_factory.getbasetemp() / "scan.tar")
    found = {
        entry.key: {field: data[offset : offset + size] for field, (offset, size) in entry.fields.items()}
        for entry in entries
    }
    assert found == samples
    assert written(samples) == data


def test_keys_have_no_dot_or_slash_in_the_tar() -> None:
    assert encode_key("a.b/c é~") == "a%2Eb%2Fc%20%C3%A9%7E"


def test_a_key_that_no_header_holds_is_refused() -> None:
    stream = io.BytesIO()
    with pytest.raises(DataError, match="too long for a tar member"):
        write_sample(stream, "k" * 95, [("a.jpg", b"x"), ("longer.jpg", b"y")])
    assert not stream.getvalue()  # the field that would have fitted was not written either


@given(st.text("abc", min_size=1, max_size=90), st.binary(max_size=3000))
def test_headers_are_those_of_the_standard_library(key: str, data: bytes) -> None:
    info = tarfile.TarInfo(f"{key}.a.jpg")
    info.size, info.mode = len(data), 0o644
    assert written({key: {"a.jpg": data}})[:512] == info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def test_a_member_larger_than_a_header_can_say_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 8**11

    with pytest.raises(DataError, match="larger than a tar can say"):
        write_sample(io.BytesIO(), "k", [("a.jpg", Huge())])


def test_a_flipped_bit_in_any_header_is_found(tmp_path: Path) -> None:
    data = written({"one": {"a.jpg": b"x" * 600}, "two": {"a.jpg": b"y"}})
    assert len(scanned(data, tmp_path / "s.tar")) == 2
    for place in (1, 104, 130, 150, 300, 512 + 1024 + 2):
        broken = bytearray(data)
        broken[place] ^= 4
        with pytest.raises(DataError, match=r"s\.tar is (damaged|truncated)"):
            scanned(bytes(broken), tmp_path / "s.tar")


@pytest.mark.parametrize("field", [b"0100\x008\0 ", b"01\xff00\0 ", b"-1\0\0\0\0\0 "])
def test_a_checksum_that_is_no_number_is_a_damaged_header(field: bytes, tmp_path: Path) -> None:
    data = bytearray(written({"k": {"t.txt": b"word"}}))
    data[148 : 148 + len(field)] = field
    with pytest.raises(DataError, match="damaged"):
        scanned(bytes(data), tmp_path / "a.tar")


@pytest.mark.parametrize("field", [b"-0000000004\0", b"0000000_004\0", b"000000000\xff4\0"])
def test_a_size_that_is_no_number_is_damage(field: bytes, tmp_path: Path) -> None:
    data = bytearray(written({"k": {"t.txt": b"word"}}))
    data[124:136] = field
    with pytest.raises(DataError, match=r"a\.tar is damaged.*size is no number"):
        scanned(bytes(data), tmp_path / "a.tar")


def test_a_field_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    data = written({"one": {"a.jpg": b"x"}})[: 2 * 512] * 2 + b"\0" * 1024
    with pytest.raises(DataError, match=r"sample 'one' holds 'a\.jpg' twice"):
        scanned(data, tmp_path / "s.tar")
