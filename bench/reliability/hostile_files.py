"""The files that a stranger might give: bombs, disguised programs, names of other places, each made from nothing."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) show\nshowpage\n%%Trailer\n%%EOF\n"
Maker = Callable[[Path], bytes]  # of the folder of the user's private files


class Started:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("gs --pickled",)


def png(width: int, height: int, depth: int = 1, colour: int = 0) -> bytes:
    """A whole PNG of one colour, of which the compressed rows alone are made."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    samples = {0: 1, 2: 3, 6: 4}[colour]
    packed, row = zlib.compressobj(9), b"\0" * (1 + (width * depth * samples + 7) // 8)
    rows = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def stack(kind: str, side: int, count: int) -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("P" if kind == "GIF" else "L", (side, side), n % 200) for n in range(count)]
    frames[0].save(
        stream, kind, save_all=True, append_images=frames[1:], **({"duration": 50} if kind != "TIFF" else {})
    )
    return stream.getvalue()


def npy(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Started()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npz(size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(npy(f"({size >> 2},)"))
        for _ in range(size >> 20):
            member.write(b"\0" * (1 << 20))
    return stream.getvalue()


def wav(promised: int) -> bytes:
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", promised
    )
    return head + b"\x80" * 100


def ply(vertices: int, extra: str = "") -> bytes:
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    return f"ply\nformat binary_little_endian 1.0\n{extra}element vertex {vertices}\n{axes}end_header\n".encode()


def glb(image: bytes, uri: str = "") -> bytes:
    """A triangle with a texture: the picture inside, or one at another place."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes() + np.zeros((3, 2), "<f4").tobytes()
    data = corners + image + b"\0" * (-(len(corners) + len(image)) % 4)
    views = [{"buffer": 0, "byteOffset": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 24}]
    views.append({"buffer": 0, "byteOffset": 60, "byteLength": len(image)})
    told = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}] if not uri else [{"byteLength": len(data), "uri": uri}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 2, "mimeType": "image/png"}] if not uri else [{"uri": uri}],
    }
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def playlist(private: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{private}/video.ts\n#EXT-X-ENDLIST\n".encode()


SAMPLES: dict[str, Maker] = {
    "eps.jpg": lambda private: EPS,
    "eps.png": lambda private: EPS,
    "eps.icns": lambda private: EPS,
    "13300 bits square.png": lambda private: png(13300, 13300),
    "13300 rgba square.png": lambda private: png(13300, 13300, 8, 6),
    "20000 square.png": lambda private: png(20000, 20000),
    "lying.png": lambda private: png(2, 2).replace(struct.pack(">II", 2, 2), struct.pack(">II", 2**31 - 1, 2**31 - 1)),
    "lying.pgm": lambda private: b"P5 100000 100000 255\n" + b"\1" * 10,
    "stack.gif": lambda private: stack("GIF", 4500, 12),
    "stack.png": lambda private: stack("PNG", 4500, 12),
    "stack.tiff": lambda private: stack("TIFF", 4500, 12),
    "claims.npy": lambda private: npy("(1000000000000,)"),
    "nothing.npy": lambda private: npy("(1000000000000,)", "'|V0'"),
    "objects.npy": lambda private: objects(),
    "pickle.npy": lambda private: pickle.dumps(Started()),
    "code.npy": lambda private: npy("(1,)", "__import__('os').system('gs')"),
    "bomb.npz": lambda private: npz(600 << 20),
    "claims.wav": lambda private: wav(2**31),
    "claims.ply": lambda private: ply(10**9),
    "nothing.ply": lambda private: ply(3, "element dust 1000000000\n"),
    "texture.obj": lambda private: f"mtllib {private}/secret.txt\nv 0 0 0\nv 1 0 0\nv 0 0 0\nf 1 2 3\n".encode(),
    "texture.ply": lambda private: ply(0, f"comment TextureFile {private}/secret.png\n"),
    "elsewhere.glb": lambda private: glb(b"", f"file://{private}/secret.png"),
    "counts.off": lambda private: b"OFF 1000000000 1000000000 0\n0 0 0\n",
    "counts.stl": lambda private: b"\0" * 80 + struct.pack("<I", 2**32 - 1),
    "playlist.mp4": playlist,
    "concat.mp4": lambda private: f"ffconcat version 1.0\nfile '{private}/video.ts'\n".encode(),
    "address.avi": lambda private: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "dash.mkv": lambda private: b'<?xml version="1.0"?><MPD><Period><AdaptationSet/></Period></MPD>',
    "laughs.json": lambda private: b"[" * 100_000 + b"]" * 100_000,
    "deep.json": lambda private: b'{"a":' * 500 + b"1" + b"}" * 500,
    "long.txt": lambda private: b"x" * (17 << 20),
}
WHOLE: dict[str, Maker] = {"picture.glb": lambda private: glb(EPS)}  # a good mesh: what is inside must not run


def member(name: str, data: bytes = b"", **parts: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for part, value in parts.items():
        setattr(info, part, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + b"\0" * (-len(data) % 512)


def good(key: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(6, dtype=np.float32))
    return b"".join(member(f"{key}.{side}.npy", stream.getvalue()) for side in "ab")


TARS: dict[str, Maker] = {
    "a link": lambda private: member("s.a.npy", type=tarfile.SYMTYPE, linkname=f"{private}/secret.txt"),
    "a hard link": lambda private: member("s.a.npy", type=tarfile.LNKTYPE, linkname=f"{private}/secret.txt"),
    "a device": lambda private: member("s.a.npy", type=tarfile.CHRTYPE),
    "a pipe": lambda private: member("s.a.npy", type=tarfile.FIFOTYPE),
    "an absolute name": lambda private: member(f"{private}/x.a.npy", b"x"),
    "a name above": lambda private: member("../../x.a.npy", b"x"),
    "a Windows name": lambda private: member("..\\x.a.npy", b"x"),
    "holes": lambda private: member(
        "s.a.npy", b"hi", pax_headers={"GNU.sparse.map": "0,2", "GNU.sparse.size": str(10**13)}
    ),
    "a size of terabytes": lambda private: member("s.a.npy", b"hi", pax_headers={"size": str(10**13)}),
    "a note of gigabytes": lambda private: member("s", type=tarfile.XHDTYPE, size=6 << 30),
    "deep meta": lambda private: member("s0.meta.json", b"[" * 100_000),
}


def laughs() -> str:
    """A configuration whose aliases stand for 10^12 words."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n"
