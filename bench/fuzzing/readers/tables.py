"""Tables of pairs: manifests of every kind, packed; and what data sets are listed in, converted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.change import json_changed, lines_changed
from fuzzing.readers import Door
from pairalign.data.manifest import Manifest
from pairalign.data.pack import pack_pairs, preview_pairs


def _packed(folder: Path, name: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        (folder / name).write_bytes(data)
        shutil.rmtree(folder / "out", ignore_errors=True)
        pack_pairs(folder / name, folder / "out", progress=False, on_bad="skip", split={"train": 0.5, "val": 0.5})

    return read


def _looked_at(folder: Path, name: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        (folder / name).write_bytes(data)
        str(preview_pairs(Manifest(folder / name)))

    return read


def manifests(folder: Path) -> dict[str, Door]:
    """JSON lines, JSON and CSV, packed and previewed."""
    Image.fromarray(np.arange(108, dtype=np.uint8).reshape(6, 6, 3)).save(folder / "a.png")
    np.save(folder / "a.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    np.savez(folder / "a.npz", b=np.arange(12.0))
    lines = [
        {"key": f"k{n}", "image": "a.png", "touch": "a.npy", "text": f"word {n}", "n": n, "label": {"a": "b"}}
        for n in range(4)
    ]
    rich = [line | {"v": [1, 2.5 + line["n"]], "more": "a.npz::b", "group": "g", "session": "s"} for line in lines]  # type: ignore[operator]
    rich[1] |= {"text": ["one", "two"], "meta": {"x": [1]}}
    table = [f"k{n},a.png,a.npy,word {n},{n}" for n in range(4)]
    csv = ("\n".join(["key,image,touch,text,n", *table]) + "\n").encode()
    jsonl = ["\n".join(map(json.dumps, rows)).encode() for rows in (lines, rich)]
    tables = [csv, csv.replace(b",", b";"), csv.replace(b",", b"\t"), csv.decode().encode("utf-16")]
    return {
        "jsonl": Door(jsonl, _packed(folder, "m.jsonl"), lines_changed),
        "json": Door([json.dumps(rows).encode() for rows in (lines, rich)], _packed(folder, "m.json"), json_changed),
        "csv": Door(tables, _packed(folder, "m.csv")),
        "previewed jsonl": Door(jsonl, _looked_at(folder, "m.jsonl"), lines_changed),
        "previewed csv": Door(tables, _looked_at(folder, "m.csv")),
    }


MAKES = {"manifests": manifests}
