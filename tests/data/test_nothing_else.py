"""Sample files that name other files, addresses or programs: none of these is opened or started."""

from __future__ import annotations

import os
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import small_file

from pairalign.core.errors import DataError
from pairalign.data.convert.dataset_format import present
from pairalign.data.convert.hub_rows import read_cell
from pairalign.data.convert.pickles import load_tensor
from pairalign.data.convert.video import frame_times, open_video
from pairalign.data.decode import read_signal
from pairalign.data.video import VideoFrames, read_frames

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) show\nshowpage\n%%EOF\n"
PLAYLISTS = {
    "HLS of a file": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "HLS of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{name}'\n",
    "a session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
}


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_called_a_video_is_none(
    tmp_path: Path, kind: str, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    other = small_file(tmp_path, "mp4")
    (tmp_path / f"list.{extension}").write_text(PLAYLISTS[kind].format(other=other, name=other.name))
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("it connects"))
    for read in (lambda path: read_frames(path, VideoFrames()), frame_times):
        with pytest.raises(DataError, match="it is no MP4, Matroska, WebM or AVI"):
            read(tmp_path / f"list.{extension}")


def test_a_container_may_open_nothing_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a container of the list is read by a demuxer that opens others, FFmpeg is told no."""
    pytest.importorskip("av")
    from pairalign.data.convert import video

    other = small_file(tmp_path, "mp4")
    (tmp_path / "list.mp4").write_text(PLAYLISTS["HLS of a file"].format(other=other))
    monkeypatch.setattr(video, "_container", lambda start: "hls")
    with pytest.raises(Exception, match=r"not opened|Invalid data|not permitted"), open_video(tmp_path / "list.mp4"):
        pytest.fail("the playlist was read")


@pytest.mark.parametrize("extension", ["mp4", "mkv", "webm", "avi", "mov", "m4v"])
def test_a_video_is_known_by_its_start_and_bounded(
    tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    path = small_file(tmp_path, extension)
    shutil.copyfile(path, tmp_path / "other.mkv")  # whatever it is called
    assert len(read_frames(tmp_path / "other.mkv", VideoFrames(4)).pictures) == 4
    for bound, most, told in (("FRAMES", 9, "pictures"), ("PIXELS", 1023, "1,024"), ("FRAME_PIXELS", 4095, "4,096")):
        with monkeypatch.context() as patch:
            patch.setenv(f"PAIRALIGN_MAX_{bound}", str(most))
            with pytest.raises(DataError, match=told):
                read_frames(path, VideoFrames(4))


def test_pictures_inside_a_mesh_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trimesh = pytest.importorskip("trimesh")
    from PIL import Image

    uv = trimesh.visual.TextureVisuals(uv=np.zeros((42, 2)), image=Image.new("RGB", (8, 8), "red"))
    mesh = trimesh.creation.icosphere(1)
    mesh.visual = uv
    (tmp_path / "x.glb").write_bytes(mesh.export(file_type="glb"))
    assert b"\x89PNG" in (tmp_path / "x.glb").read_bytes()
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("a picture was opened"))
    assert read_signal(tmp_path / "x.glb").shape == (2048, 3)


@pytest.mark.parametrize("kind", ["link", "values", "virtual"])
def test_parts_of_an_hdf5_file_that_lie_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    from pairalign.data.convert.scanobjectnn import _open

    (tmp_path / "secret").write_bytes(b"top secret, 24 bytes ...")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.arange(3.0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["label"] = np.arange(3)
        if kind == "link":
            file["data"] = h5py.ExternalLink("other.h5", "data")
        elif kind == "values":
            file.create_dataset("data", (3,), "f8", external=[(str(tmp_path / "secret"), 0, 24)])
        else:
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (3,))
            file.create_virtual_dataset("data", layout)
    with pytest.raises(DataError, match="'data' lies in another file"):
        _open(tmp_path / "x.h5")


def test_rows_of_an_hdf5_file_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    from pairalign.data.convert.scanobjectnn import _open

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data", (10**6, 2048, 3), "f4", chunks=(1, 2048, 3), compression="gzip")
        file["label"] = np.arange(3)
    assert set(_open(tmp_path / "x.h5")) == {"data", "label"}  # a row at a time
    monkeypatch.setenv("PAIRALIGN_MAX_VALUES", "6143")
    with pytest.raises(DataError, match="6,144 numbers"):
        _open(tmp_path / "x.h5")


def test_a_packed_tensor_file_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save(torch.zeros(1000), tmp_path / "x.pt")
    assert load_tensor(tmp_path / "x.pt").shape == (1000,)
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as plain,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as y,
    ):
        for name in plain.namelist():
            y.writestr(name, plain.read(name))
    with pytest.raises(DataError, match=r"as torch.save packs none"):
        load_tensor(tmp_path / "y.pt")


def test_tables_of_a_data_set_name_no_file_outside(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    left: list[tuple[str, str]] = []
    skip: Any = lambda key, reason: left.append((key, reason))  # noqa: E731
    assert present({"image": tmp_path / "set" / ".." / "secret.jpg"}, tmp_path / "set", "k", skip) == {}
    assert left == [("k", "unsafe name of the image file: it leaves the folder")]


@pytest.mark.parametrize("name", ["../secret.png", "door.png", "folder/secret.png"])
def test_cells_of_a_hub_folder_name_no_file_outside(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairalign.data.convert import hub_rows

    home = tmp_path / "set"
    home.mkdir()
    shutil.copyfile(small_file(tmp_path, "png"), tmp_path / "secret.png")
    (home / "door.png").symlink_to(tmp_path / "secret.png")
    (home / "folder").symlink_to(tmp_path)

    class Column:
        def __init__(self) -> None:
            self.features = {"image": {"bytes": None, "path": None}}

        def __getitem__(self, row: int) -> dict[str, Any]:
            return {"image": {"bytes": None, "path": name}}

    monkeypatch.setattr(hub_rows, "_column", lambda *args: Column())
    with pytest.raises(DataError, match="leaves the folder of the data set"):
        read_cell(home, "", "train", 0, "image")


def test_programs_in_a_mesh_s_picture_stay_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trimesh")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    glb = pytest.importorskip("reliability.hostile_files").glb
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/mark\necho 10.0\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.glb").write_bytes(glb(EPS))
    assert read_signal(tmp_path / "x.glb").shape[1] == 3
    assert not (tmp_path / "mark").exists()
