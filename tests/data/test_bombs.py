"""Small files that promise much: each is refused by its header, before anything is allocated for it."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import read_signal
from pairalign.data.lines import read_lines
from pairalign.data.tar import open_shard, scan, write_end, write_sample
from pairalign.data.video import VideoFrames, read_frames


def png(width: int, height: int) -> bytes:
    """A whole PNG of black bits, of which the compressed rows alone are made."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed, row = zlib.compressobj(9), b"\0" * (1 + (width + 7) // 8)
    rows = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def npy(shape: str, data: bytes = b"") -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data


def npz(size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(npy(f"({size >> 2},)"))
        for _ in range(size >> 20):
            member.write(b"\0" * (1 << 20))
    return stream.getvalue()


def crowd(members: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number}.npy", b"")
    return stream.getvalue()


def wav(seconds: int, rate: int) -> bytes:
    count = seconds * rate
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + count, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8, b"data", count
    )
    return head + b"\x80" * count


def ply(vertices: int) -> bytes:
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    return f"ply\nformat binary_little_endian 1.0\nelement vertex {vertices}\n{axes}end_header\n".encode()


def stl(faces: int) -> bytes:
    return b"\0" * 80 + struct.pack("<I", faces) + b"\0" * (50 * faces)


BOMBS: dict[str, tuple[Any, str, dict[str, str]]] = {
    "13300.png": (lambda: png(13300, 13300), "more than 67,108,864 pixels", {}),
    "array.npy": (lambda: npy("(1000000000000,)"), "the file is cut", {}),
    "empty.npy": (lambda: npy("(1000000000000,)").replace(b"'<f4'", b"'|V0'"), "1,000,000,000,000 numbers", {}),
    "packed.npz": (lambda: npz(300 << 20), "bytes", {}),
    "crowd.npz": (lambda: crowd(40), "40 members", {"PAIRALIGN_MAX_MEMBERS": "30"}),
    "long.wav": (lambda: wav(15000, 100), "15,000 seconds", {}),
    "wide.wav": (lambda: wav(1, 4000), "4,000 numbers", {"PAIRALIGN_MAX_VALUES": "3999"}),
    "many.ply": (lambda: ply(10**9), "1,000,000,000 points", {}),
    "many.stl": (lambda: stl(2000), "6,000 points", {"PAIRALIGN_MAX_POINTS": "5999"}),
    "words.obj": (lambda: b"v 0 0 0\n" * 2000, "16,000 bytes", {"PAIRALIGN_MAX_MESH": "15999"}),
    "words.ply": (lambda: ply(3).replace(b"binary_little_endian", b"ascii"), "bytes", {"PAIRALIGN_MAX_MESH": "99"}),
    "words.off": (lambda: b"OFF 9000000 1 0\n0 0 0", "9,000,000 points", {}),
    "long.txt": (lambda: b"x" * 2000, "2,000 bytes", {"PAIRALIGN_MAX_TEXT": "1999"}),
    "deep.json": (lambda: b"[" * 70 + b"]" * 70, "nested deeper than 64", {}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_its_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, told, bounds = BOMBS[name]
    for variable, value in bounds.items():
        monkeypatch.setenv(variable, value)
    (tmp_path / name).write_bytes(make())
    with pytest.raises(DataError, match=told):
        read_signal(tmp_path / name)


def test_the_figure_of_thirteen_thousand_pixels_square_is_a_few_kilobytes() -> None:
    assert len(png(13300, 13300)) < 30_000


@pytest.mark.parametrize(("kind", "name"), [("GIF", "gif"), ("PNG", "png"), ("TIFF", "tiff")])
def test_an_animation_is_bounded_in_frames_and_pixels(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.fromarray(np.full((30, 20), 7 * n, np.uint8)) for n in range(1, 21)]
    frames[0].save(tmp_path / f"x.{name}", kind, save_all=True, append_images=frames[1:])
    assert len(read_frames(tmp_path / f"x.{name}", VideoFrames(4)).pictures) == 4
    for bound, most, told in (
        ("FRAMES", 19, "20 pictures"),
        ("FRAME_PIXELS", 2399, "2,400 pixels"),
        ("DECODED_PIXELS", 11999, "12,000 pixels"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"PAIRALIGN_MAX_{bound}", str(most))
            with pytest.raises(DataError, match=told):
                read_frames(tmp_path / f"x.{name}", VideoFrames(4))


def shard(path: Path, members: int) -> Path:
    with path.open("wb") as stream:
        for number in range(members):
            write_sample(stream, f"k{number}", [("a.txt", b"hi")])
        write_end(stream)
    return path


def scanned(path: Path) -> int:
    descriptor = open_shard(path)
    try:
        return len(scan(descriptor, path.name))
    finally:
        os.close(descriptor)


def test_a_shard_is_bounded_in_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "x.tar", 9000)  # several rounds of checksums
    assert scanned(path) == 9000
    monkeypatch.setenv("PAIRALIGN_MAX_MEMBERS", "8999")
    with pytest.raises(DataError, match="9,000 members"):
        scanned(path)


def test_a_checksum_behind_the_first_thousands_is_compared_too(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", 9000)
    data = bytearray(path.read_bytes())
    data[2 * 512 * 8500 + 100] ^= 1  # the mode of a member
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"is damaged at member 'k8500.a.txt'"):
        scanned(path)


def test_a_note_of_gigabytes_before_a_member_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("note")
    info.type, info.size = tarfile.XHDTYPE, 6 << 30
    with (tmp_path / "x.tar").open("wb") as stream:
        stream.write(info.tobuf())
        stream.truncate(7 << 30)
    with pytest.raises(DataError, match="a header of 6442450944 bytes"):
        scanned(tmp_path / "x.tar")


def test_a_member_with_holes_is_refused(tmp_path: Path) -> None:
    pax = {"GNU.sparse.map": "0,2", "GNU.sparse.size": str(10**13), "GNU.sparse.name": "k.a.txt"}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("k.a.txt")
        info.size, info.pax_headers = 2, pax
        tar.addfile(info, io.BytesIO(b"hi"))
    with pytest.raises(DataError, match="has holes"):
        scanned(tmp_path / "x.tar")


def test_a_pipe_called_a_shard_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(DataError, match="is no plain file"):
        open_shard(tmp_path / "x.tar")


def test_parquet_that_repeats_itself_is_counted_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["x" * 1000] * 50_000, "n": list(range(50_000))}), tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 1_000_000
    assert len(read_lines(tmp_path / "m.parquet").rows) == 50_000
    with monkeypatch.context() as patch:
        patch.setenv("PAIRALIGN_MAX_TABLE", "10_000_000")
        with pytest.raises(DataError, match="unpacked, is too large"):
            read_lines(tmp_path / "m.parquet")
    monkeypatch.setenv("PAIRALIGN_MAX_CELLS", "99_999")
    with pytest.raises(DataError, match="100,000 cells"):
        read_lines(tmp_path / "m.parquet")


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv"])
def test_a_line_is_measured_before_it_is_read_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text('a,b\n{"a": 1}\n' + "x" * 5000 + "\n")
    monkeypatch.setenv("PAIRALIGN_MAX_TEXT", "4000")
    with pytest.raises(DataError, match="4,001 bytes"):
        read_lines(tmp_path / name)


def test_a_json_list_on_one_line_is_a_table_and_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.json").write_text("[" + ", ".join(['{"a": 1}'] * 1000) + "]")
    monkeypatch.setenv("PAIRALIGN_MAX_TEXT", "4000")
    assert len(read_lines(tmp_path / "m.json").rows) == 1000
