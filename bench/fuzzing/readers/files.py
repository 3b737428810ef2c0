"""Files as they are packed and shown: pictures, arrays, sounds, meshes, videos, text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.change import json_changed, picture_changed, zip_changed
from fuzzing.readers import Door
from pairalign.core.errors import PairalignError
from pairalign.data.captions import several_texts
from pairalign.data.decode import content_id, decode, read_signal
from pairalign.data.encode import ImageFormat, encode
from pairalign.data.formats import FORMATS
from pairalign.data.jpeg import WholeJpegs
from pairalign.data.picture import rgb_picture
from pairalign.data.video import VideoFrames, expanded

COMMON = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "pgm": "PPM"}
COMPRESSED = ("flac", "ogg", "mp3", "opus", "aiff", "au", "caf", "w64", "rf64")


def _modes(extension: str) -> Iterator[bytes]:
    """Pictures of one format in the modes that it has."""
    pixels = np.random.default_rng(0).integers(0, 255, (13, 17, 4), np.uint8)
    for mode in ("RGB", "L", "RGBA", "P", "1", "I;16", "CMYK"):
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(pixels)
        stream = io.BytesIO()
        try:
            image = image if mode == "I;16" else image.convert("RGB" if mode == "CMYK" else mode).convert(mode)
            image.save(stream, COMMON[extension])
        except (OSError, ValueError, KeyError):
            continue  # the format has no such mode
        yield stream.getvalue()


def _shown(extension: str, path: Path) -> Callable[[bytes], object]:
    """A picture decoded as training decodes it, turned into what encoders get, and packed from a file."""
    whole = WholeJpegs()

    def read(data: bytes) -> None:
        whole.shape(data)
        path.write_bytes(data)
        with suppress(PairalignError):  # each way in has to refuse by itself
            encode(path, ImageFormat())
        picture = decode(extension, data)
        whole.learn(data, np.asarray(picture).shape)
        rgb_picture(picture)

    return read


def pictures(folder: Path) -> dict[str, Door]:
    """The formats that people have."""
    return {name: Door(list(_modes(name)), _shown(name, folder / f"x.{name}"), picture_changed) for name in COMMON}


def rare_pictures(folder: Path) -> dict[str, Door]:
    """The other plugins of Pillow, one extension each."""
    from small_files import small_file

    names: dict[str, str] = {}
    for name, about in FORMATS.items():
        if about.family == "picture" and about.plugin not in COMMON.values():
            names.setdefault(about.plugin, name)
    return {
        name: Door([small_file(folder, name).read_bytes()], _shown(name, folder / f"x.{name}"), picture_changed)
        for name in names.values()
    }


def _arrays() -> Iterator[bytes]:
    """Arrays of several kinds as npy."""
    record = np.zeros(5, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    plain = [np.arange(12).reshape(3, 4).astype(kind) for kind in ("<f4", ">f8", "<i2", "u1", "?", "<f2")]
    for array in (*plain, record, np.array(3.0), np.zeros((0, 3)), np.asfortranarray(plain[0])):
        stream = io.BytesIO()
        np.save(stream, array)
        yield stream.getvalue()


def arrays(folder: Path) -> dict[str, Door]:
    """npy, and npz by name and without."""

    def signal(name: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> None:
            (folder / "x.npz").write_bytes(data)
            read_signal(f"{folder / 'x.npz'}{name}")

        return read

    stream, packed = io.BytesIO(), io.BytesIO()
    np.savez(stream, a=np.arange(6.0))
    np.savez_compressed(packed, a=np.zeros((30, 30)))
    archives = [stream.getvalue(), packed.getvalue()]
    return {
        "npy": Door(list(_arrays()), lambda data: decode("npy", data)),
        "npz": Door(archives, signal(""), zip_changed),
        "npz member": Door(archives, signal("::a"), zip_changed),
    }


def _wavs() -> Iterator[bytes]:
    import wave

    for width, channels in ((1, 1), (2, 1), (2, 2), (3, 1), (4, 2)):
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(8000)
            file.writeframes(bytes(range(240)) * 2)
        yield stream.getvalue()


def sounds(folder: Path) -> dict[str, Door]:
    """WAV by our own reader, the others by soundfile; and the rate that packing asks for."""
    import soundfile
    from small_files import small_file

    from pairalign.data.sound import sound_rate

    def heard(extension: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> None:
            sound_rate(data, extension)
            decode(extension, data)

        return read

    rare = io.BytesIO()
    soundfile.write(rare, np.sin(np.arange(900.0)), 8000, format="WAV", subtype="MS_ADPCM")
    doors = {"wav": Door([*_wavs(), rare.getvalue()], heard("wav"))}
    for name in COMPRESSED:
        doors[name] = Door([small_file(folder, name).read_bytes()], heard(name))
    return doors


PLY = """ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
0 0 0 1 2 3
1 0 0 1 2 3
0 1 0 1 2 3
0 0 1 1 2 3
3 0 1 2
3 0 1 3
"""
OBJ = "mtllib x.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 1\nvt 0 0\nusemtl red\nf 1/1/1 2/1/1 3/1/1\n"
OFF = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n4 0 1 3 2\n"


def meshes(folder: Path) -> dict[str, Door]:
    """OFF by our own reader, the others by trimesh."""
    import trimesh

    def packed(extension: str) -> Callable[[bytes], object]:
        path = folder / f"x.{extension}"

        def read(data: bytes) -> None:
            path.write_bytes(data)
            encode(path, ImageFormat())

        return read

    box = trimesh.creation.box()
    cloud = trimesh.PointCloud(np.arange(30.0).reshape(10, 3) % 7)
    good: dict[str, list[bytes]] = {
        "off": [OFF.encode()],
        "ply": [PLY.encode(), box.export(file_type="ply"), cloud.export(file_type="ply")],
        "obj": [OBJ.encode(), box.export(file_type="obj").encode()],
        "stl": [box.export(file_type="stl"), box.export(file_type="stl_ascii").encode()],
        "glb": [box.export(file_type="glb"), trimesh.Scene([box, cloud]).export(file_type="glb")],
    }
    return {name: Door(files, packed(name)) for name, files in good.items()}


def videos(folder: Path) -> dict[str, Door]:
    """Videos, and pictures that move, as their frames."""
    from small_files import PIXELS, saved, small_file

    def frames(extension: str) -> Callable[[bytes], object]:
        path = folder / f"x.{extension}"

        def read(data: bytes) -> None:
            path.write_bytes(data)
            expanded({"film": path}, VideoFrames(3))
            read_signal(path)

        return read

    good = {name: [small_file(folder, name).read_bytes()] for name in ("mp4", "mkv", "webm", "avi", "mov")}
    still = [Image.fromarray(np.roll(PIXELS, n, 0)) for n in range(3)]
    for name, kind in (("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("tiff", "TIFF")):
        good[name] = [saved(kind, still[0], save_all=True, append_images=still[1:])]
    return {name: Door(files, frames(name)) for name, files in good.items()}


def texts(folder: Path) -> dict[str, Door]:
    """Text and JSON as they are stored, as captions, one or several."""

    def read(extension: str) -> Callable[[bytes], object]:
        def one(data: bytes) -> None:
            content_id(extension, [data])
            several_texts(decode(extension, data))

        return one

    values = [b'{"a": [1, 2], "b": "x"}', b'"word"', b"3", b'["a red mug", "a mug"]']
    return {
        "txt": Door(["a réd mug\n".encode(), b"two  words"], read("txt")),
        "json": Door(values, read("json"), json_changed),
    }


MAKES = {
    "pictures": pictures,
    "rare pictures": rare_pictures,
    "arrays": arrays,
    "sounds": sounds,
    "meshes": meshes,
    "videos": videos,
    "texts": texts,
}
