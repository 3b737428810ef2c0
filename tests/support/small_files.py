"""A small whole file of every format that may be packed, written by the library that owns it, else byte by byte."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairalign.data.formats import FORMATS

SIDE = 16
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def small_file(folder: Path, extension: str) -> Path:
    """`x.EXTENSION` in the folder."""
    path = folder / f"x.{extension}"
    family = FORMATS[extension].family
    if family == "video":
        _video(path)
    else:
        make = {
            "picture": _picture, "array": _array, "arrays": _arrays, "text": _text, "json": _json, "sound": _sound,
            "mesh": _mesh,
        }[family]  # fmt: skip
        path.write_bytes(make(extension))
    return path


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, kind, **options)
    return stream.getvalue()


def _picture(extension: str) -> bytes:
    plugin = FORMATS[extension].plugin
    grey, planes = PIXELS[..., 0], PIXELS.transpose(2, 0, 1)
    if extension == "pfm":
        return saved("PPM", Image.fromarray((grey / 255).astype(np.float32)))
    if plugin in ("MSP", "XBM"):
        return saved(plugin, Image.fromarray(grey > 127))
    if plugin == "ICO":
        return saved("ICO", sizes=[(SIDE, SIDE)])
    if plugin == "CUR":
        icon = bytearray(saved("ICO", sizes=[(SIDE, SIDE)], bitmap_format="bmp"))
        icon[2] = 2
        return bytes(icon)
    if plugin == "ICNS":
        return saved("ICNS", Image.fromarray(PIXELS).resize((32, 32)))
    if plugin == "BLP":
        return saved("BLP", Image.fromarray(PIXELS).quantize(256))
    if plugin == "DCX":
        return struct.pack("<III", 987654321, 12, 0) + saved("PCX")
    if plugin == "SUN":
        head = struct.pack(">8I", 0x59A66A95, SIDE, SIDE, 24, PIXELS.size, 1, 0, 0)
        return head + PIXELS[..., ::-1].tobytes()
    if plugin == "XPM":
        rows = ("".join("ab"[int(v > 127)] for v in row) for row in grey)
        lines = [f'"{line}"' for line in ("16 16 2 1", "a c #102030", "b c #f0e0d0", *rows)]
        return b"/* XPM */\nstatic char * x[] = {\n" + ",\n".join(lines).encode() + b"\n};\n"
    if plugin == "GBR":
        return struct.pack(">IIIII", 30, 2, SIDE, SIDE, 1) + b"GIMP" + struct.pack(">I", 10) + b"x\0" + grey.tobytes()
    if plugin == "PSD":
        head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3)
        return head + struct.pack(">III", 0, 0, 0) + b"\0\0" + planes.tobytes()
    if plugin == "PIXAR":
        head = bytearray(1024)
        head[:4] = b"\200\350\0\0"
        struct.pack_into("<HH4xHH", head, 416, SIDE, SIDE, 14, 2)
        return bytes(head) + PIXELS.tobytes()
    if plugin == "FTEX":
        head = b"FTEX" + struct.pack("<7i", 1, SIDE, SIDE, 1, 1, 1, 32)
        return head + struct.pack("<i", PIXELS.size) + PIXELS.tobytes()
    if plugin == "FLI":
        return _fli(grey)
    return saved(plugin)


def _fli(grey: np.ndarray) -> bytes:
    """One frame, its colours and its bytes as they are."""
    colours = struct.pack("<IHHBB", 6 + 4 + 768, 4, 1, 0, 0) + bytes(np.repeat(np.arange(256, dtype=np.uint8), 3))
    pixels = struct.pack("<IH", 6 + grey.size, 16) + grey.tobytes()
    frame = struct.pack("<IHH8x", 16 + len(colours) + len(pixels), 0xF1FA, 2) + colours + pixels
    head = struct.pack("<IHHHHHHI", 128 + len(frame), 0xAF12, 1, SIDE, SIDE, 8, 3, 40)
    return head.ljust(128, b"\0") + frame


def _array(extension: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(80.0))
    return stream.getvalue()


def _arrays(extension: str) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, force=np.arange(80.0))
    return stream.getvalue()


def _text(extension: str) -> bytes:
    return b"a red mug"


def _json(extension: str) -> bytes:
    return json.dumps({"grasp": "firm"}).encode()


def _sound(extension: str) -> bytes:
    import soundfile

    kind = {"oga": "OGG", "opus": "OGG", "aif": "AIFF", "aifc": "AIFF", "snd": "AU"}.get(extension, extension.upper())
    stream = io.BytesIO()
    wave, subtype = np.sin(np.arange(4800) / 9) * 0.5, "OPUS" if extension == "opus" else None
    soundfile.write(stream, wave, 48000, format=kind, subtype=subtype)
    return stream.getvalue()


def _mesh(extension: str) -> bytes:
    import trimesh

    data = trimesh.creation.icosphere(1).export(file_type=extension)
    return data.encode() if isinstance(data, str) else data


def _video(path: Path) -> None:
    import av

    codec = {"webm": "libvpx"}.get(path.suffix[1:], "mpeg4")
    with av.open(str(path), "w", format={"m4v": "mp4"}.get(path.suffix[1:])) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for n in range(10):
            frame = np.kron(np.roll(PIXELS, n, 0), np.ones((2, 2, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
