"""Shards and their index: read as training reads them, indexed anew, inspected, and fetched from an address."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.change import json_changed, tar_changed
from fuzzing.readers import Door
from pairalign.core.errors import PairalignError
from pairalign.data import reader
from pairalign.data.index import load_index, shards_at
from pairalign.data.indexing import describe_indexed, index_shards
from pairalign.data.inspect import inspect_pairs
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import count_samples, damaged_shards, read_samples

NAMES = ("image", "touch", "text")


def make_shards(folder: Path) -> Path:
    """A small folder of shards."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "key": f"s{n}",
            "image": Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)),
            "touch": rng.normal(size=(4, 3)).astype(np.float32),
            "text": [f"caption {n}", f"words {n}"] if n % 2 else f"caption {n}",
            "label": {"kind": "ab"[n % 2]},
            "group": "g",
        }
        for n in range(4)
    ]
    pack_pairs(rows, folder / "shards", seed=None, progress=False)
    return folder / "shards"


def index(folder: Path) -> dict[str, Door]:
    """index.json over whole shards: read through, counted, and its pictures looked at."""
    shards = make_shards(folder)
    good = (shards / "index.json").read_bytes()
    told = json.loads(good)
    told["divisions"] = {"by_object": {"test": told["splits"]["train"]}}

    def read(data: bytes) -> None:
        (shards / "index.json").write_bytes(data)
        found = load_index(shards)
        for split in list(found.every_split)[:3]:
            count_samples(shards, split)
            list(read_samples(shards, split, list(found.modalities)[:3], shuffle=4))

    def look(data: bytes) -> None:
        (shards / "index.json").write_bytes(data)
        damaged_shards(shards)
        inspect_pairs(shards, out=folder / "sheet.png", samples=1, progress=False)

    files = [good, json.dumps(told).encode()]
    return {"index.json": Door(files, read, json_changed), "inspected": Door(files, look, json_changed)}


def _pax() -> bytes:
    """A tar as others write it: long names, folders, plain extensions."""
    stream = io.BytesIO()
    array = io.BytesIO()
    np.save(array, np.arange(6, dtype=np.float32))
    files = {f"{'deep/' * 30}s0.touch.npy": array.getvalue(), f"{'deep/' * 30}s0.text.txt": b"hi", "é.jpg": b"x"}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shard(folder: Path) -> dict[str, Door]:
    """A shard under a whole index, as training and a check read it; and shards without one, indexed and then read."""
    shards = make_shards(folder)
    name = next(shards.glob("*.tar")).name
    good, bare = (shards / name).read_bytes(), folder / "bare"
    bare.mkdir()

    def read(data: bytes) -> None:
        reader._SCANNED.clear()  # of a file that was written twice within a tick of the clock
        (shards / name).write_bytes(data)
        list(read_samples(shards, "train", NAMES, on_bad=lambda key, reason: None))
        list(read_samples(shards, "train", ["touch"]))

    def indexed(data: bytes) -> None:
        reader._SCANNED.clear()
        shutil.rmtree(bare)
        bare.mkdir()
        (bare / "x.tar").write_bytes(data)
        list(describe_indexed(index_shards(bare, progress=False)))
        found = load_index(bare)
        for split in found.splits:
            list(read_samples(bare, split, list(found.modalities)[:3], on_bad=lambda key, reason: None))

    tars = [good, good, _pax()]
    return {"tar": Door([good], read, tar_changed), "indexed tar": Door(tars, indexed, tar_changed)}


def meta(folder: Path) -> dict[str, Door]:
    """meta.json of a sample: ids, label, group, as training reads it and as evaluation's pool does."""
    from pairalign.data.tar import write_end, write_sample

    shards = make_shards(folder)
    path = next(shards.glob("*.tar"))
    array = io.BytesIO()
    np.save(array, np.arange(6, dtype=np.float32))
    told = {"label": {"kind": "a"}, "group": "g", "split": "train", "ids": {"touch": 5, "text": 6}}
    told |= {"frames": {"touch": {"seconds": [0.5], "rate": 2.0}}, "session": "s"}

    def read(data: bytes) -> None:
        reader._SCANNED.clear()
        with path.open("wb") as stream:
            write_sample(
                stream, "s0", [("meta.json", data), ("touch.npy", array.getvalue()), ("text.txt", b"a red mug")]
            )
            write_end(stream)
        (shards / "index.json").unlink(missing_ok=True)
        index_shards(shards, progress=False)
        for split in load_index(shards).splits:
            for sample in read_samples(shards, split, ["touch", "text"]):
                np.array([sample.ids["touch"], sample.ids["text"]], np.int64)
            with suppress(PairalignError):
                inspect_pairs(shards, splits=[split], out=folder / "sheet.png", samples=1, progress=False)

    return {"meta.json": Door([json.dumps(told).encode()], read, json_changed)}


class _Served(BaseHTTPRequestHandler):
    data = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def remote(folder: Path) -> dict[str, Door]:
    """The index of an address, from a real server."""
    from pairalign.data.place import find_place
    from pairalign.data.remote.fetched import forget_index

    good = (make_shards(folder) / "index.json").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = find_place(f"http://127.0.0.1:{server.server_address[1]}/shards")

    def read(data: bytes) -> None:
        _Served.data = data
        forget_index(place)  # type: ignore[arg-type]
        found = load_index(place)
        with suppress(PairalignError):  # what it says lies elsewhere is not read unless a user says so
            shards_at(place, found)
        for split in found.every_split:
            found.digest(split)

    told = {**json.loads(good), "at": "s3://bucket/folder"}
    return {"index.json": Door([good, json.dumps(told).encode()], read, json_changed)}


MAKES = {"index": index, "shard": shard, "meta": meta, "remote index": remote}
