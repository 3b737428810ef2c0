"""Fuzzing what reads other people's files: manifests, configurations, indices, shards, arrays, pictures, sounds.

    python bench/fuzz.py --seconds 900 --out fuzz.json

Every case is a good file with random changes (bits, bytes, pieces cut, doubled, moved, numbers and words that break
readers). A reader may read it or raise a `PairalignError`. Findings are any other exception, more than `--limit`
seconds for a case, and a process that dies. The seconds are of CPU time, shared evenly among the readers. Each reader
works in a process of its own, and a finding's input is written beside the JSON, so that it can be read again.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import PairalignError
from pairalign.data.decode import decode
from pairalign.data.index import load_index
from pairalign.data.pack import pack_pairs
from pairalign.data.picture import rgb_picture
from pairalign.data.shards import count_samples, read_samples
from pairalign.finetune.config import RecomposeConfig

WORDS = (
    *(b"", b"0", b"-1", b"3", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'"', b"'", b",", b";", b"\t", b"\n"),
    *(
        b"\r\n",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"../",
        b"/",
        b"*",
        b"&a",
        b"!!python/name:os.system",
    ),
    *(b"999999999999999999999", b"9" * 400, b"[" * 400, b"a.png", b"a.npy", b"touch", b"{x}", b":", b"- ", b"#"),
)
RESTARTS = 5  # after a hang or a death
PICTURES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "pgm": "PPM"}


def changed(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The file with one to six random changes."""
    value = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at, kind = draw.randrange(len(value) + 1), draw.randrange(8)
        end = min(len(value), at + draw.choice((1, 2, 4, 16, 200)))
        if kind == 0 and value:
            value[min(at, len(value) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            value[at:end] = draw.randbytes(end - at)
        elif kind == 2:
            del value[at:end]
        elif kind == 3:
            value[at:at] = value[at:end]
        elif kind == 4:
            value[at:end] = draw.choice(WORDS)
        elif kind == 5:
            value[at:at] = draw.choice(WORDS)
        elif kind == 6:
            value[at : at + 4] = draw.choice((b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
        else:
            value = value[:at] if draw.random() < 0.5 else value[:at] + bytearray(draw.choice(others))[at:]
    return bytes(value)


def arrays() -> Iterator[bytes]:
    """Good .npy files of several kinds."""
    record = np.zeros(5, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    plain = [np.arange(12).reshape(3, 4).astype(kind) for kind in ("<f4", ">f8", "<i2", "u1", "?", "<f2")]
    for array in (*plain, record, np.array(3.0), np.zeros((0, 3)), np.asfortranarray(plain[0])):
        stream = io.BytesIO()
        np.save(stream, array)
        yield stream.getvalue()


def pictures(extension: str) -> Iterator[bytes]:
    """Good pictures of one format, in the modes that it has."""
    pixels = np.random.default_rng(0).integers(0, 255, (13, 17, 4), np.uint8)
    for mode in ("RGB", "L", "RGBA", "P", "1", "I;16", "CMYK"):
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(pixels)
        stream = io.BytesIO()
        try:
            (image if mode == "I;16" else image.convert("RGB" if mode == "CMYK" else mode).convert(mode)).save(
                stream, PICTURES[extension]
            )
        except (OSError, ValueError, KeyError):
            continue  # the format has no such mode
        yield stream.getvalue()


def sounds() -> Iterator[bytes]:
    """Good .wav files."""
    import wave

    for width, channels in ((1, 1), (2, 1), (2, 2), (3, 1), (4, 2)):
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(8000)
            file.writeframes(bytes(range(240)) * 2)
        yield stream.getvalue()


def make_shards(folder: Path) -> Path:
    """A small folder of shards."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "key": f"s{n}",
            "image": Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)),
            "touch": rng.normal(size=(4, 3)).astype(np.float32),
            "text": f"caption {n}",
            "label": "ab"[n % 2],
        }
        for n in range(6)
    ]
    pack_pairs(rows, folder / "shards", seed=None, progress=False)
    return folder / "shards"


def read_picture(extension: str) -> Callable[[bytes], object]:
    """Decode, and turn into what encoders get."""
    return lambda data: rgb_picture(decode(extension, data))


def read_index(shards: Path) -> Callable[[bytes], object]:
    """An index over whole shards."""

    def read(data: bytes) -> None:
        (shards / "index.json").write_bytes(data)
        for split in load_index(shards).every_split:
            count_samples(shards, split)
            list(read_samples(shards, split, ["image", "touch", "text"], shuffle=4))

    return read


def read_shard(shards: Path) -> Callable[[bytes], object]:
    """A shard under a whole index, as training reads it (damaged samples are counted) and as a check does."""
    name = next(shards.glob("*.tar")).name

    def read(data: bytes) -> None:
        (shards / name).write_bytes(data)
        list(read_samples(shards, "train", ["image", "touch", "text"], on_bad=lambda key, reason: None))
        list(read_samples(shards, "train", ["touch"]))

    return read


def read_manifest(folder: Path, name: str) -> Callable[[bytes], object]:
    """A manifest, packed."""

    def read(data: bytes) -> None:
        (folder / name).write_bytes(data)
        shutil.rmtree(folder / "out", ignore_errors=True)
        pack_pairs(folder / name, folder / "out", progress=False)

    return read


def read_config(cls: type[Any], folder: Path) -> Callable[[bytes], object]:
    """A configuration."""

    def read(data: bytes) -> None:
        (folder / "config.yaml").write_bytes(data)
        load_config(cls, folder / "config.yaml")

    return read


def readers(folder: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], object]]]:
    """Every reader by name, with good files to begin from; works in `folder`."""
    shards = make_shards(folder)
    index, tar = (shards / "index.json").read_bytes(), next(shards.glob("*.tar")).read_bytes()
    Image.fromarray(np.arange(108, dtype=np.uint8).reshape(6, 6, 3)).save(folder / "a.png")
    np.save(folder / "a.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    lines = [{"key": f"k{n}", "image": "a.png", "touch": "a.npy", "text": f"word {n}", "n": n} for n in range(4)]
    jsonl = "\n".join(map(json.dumps, lines)).encode()
    csv = ("key,image,touch,text,n\n" + "".join(f"k{n},a.png,a.npy,word {n},{n}\n" for n in range(4))).encode()
    configs = Path(__file__).parents[1] / "configs"
    found: dict[str, tuple[list[bytes], Callable[[bytes], object]]] = {
        "manifest.jsonl": ([jsonl, json.dumps(lines).encode()], read_manifest(folder, "m.jsonl")),
        "manifest.csv": ([csv, csv.replace(b",", b";"), csv.replace(b",", b"\t")], read_manifest(folder, "m.csv")),
        "align config": ([p.read_bytes() for p in configs.glob("*.yaml")], read_config(AlignConfig, folder)),
        "recompose config": (
            [p.read_bytes() for p in configs.glob("recompose/*.yaml")],
            read_config(RecomposeConfig, folder),
        ),
        "index": ([index], read_index(shards)),
        "shard": ([tar], read_shard(shards)),
        "npy": (list(arrays()), lambda data: decode("npy", data)),
        "wav": (list(sounds()), lambda data: decode("wav", data)),
        "json": ([b'{"a": [1, 2], "b": "x"}', b'"word"', b"3"], lambda data: decode("json", data)),
    }
    return found | {name: (list(pictures(name)), read_picture(name)) for name in PICTURES}


def fuzz(name: str, seconds: float, seed: int, current: Any, findings: Any) -> None:
    """Cases of one reader for so many seconds of CPU time; runs in a process of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff complains of every case
    warnings.simplefilter("ignore")
    draw = random.Random(f"{seed} {name}")
    with tempfile.TemporaryDirectory() as temporary:
        good, read = readers(Path(temporary))[name]
        for data in good:
            read(data)  # a good file is read
        outcomes: Counter[str] = Counter()
        start = time.process_time()
        while time.process_time() - start < seconds:
            data = changed(draw.choice(good), draw, good)
            current.send(zlib.compress(data, 1))
            try:
                read(data)
                outcomes["read"] += 1
            except PairalignError:
                outcomes["refused"] += 1
            except Exception as error:
                outcomes["untyped"] += 1
                where = traceback.extract_tb(error.__traceback__)
                own = next((frame for frame in reversed(where) if "pairalign" in frame.filename), where[-1])
                findings.put(
                    (name, f"{type(error).__name__} at {Path(own.filename).name}:{own.lineno}", str(error), data)
                )
        findings.put((name, "done", json.dumps(outcomes), b""))
    current.send(None)


def watch(name: str, seconds: float, limit: float, seed: int) -> tuple[Counter[str], list[tuple[str, str, bytes]]]:
    """Outcomes of one reader, and its findings: what, message, input."""
    context = multiprocessing.get_context("fork")
    found: list[tuple[str, str, bytes]] = []
    outcomes: Counter[str] = Counter()

    def take(queue: Any) -> None:
        while not queue.empty():
            _, kind, message, case = queue.get()
            if kind == "done":
                outcomes.update(json.loads(message))
            else:
                found.append((kind, message, case))

    for attempt in range(RESTARTS):
        mine, its = context.Pipe(duplex=False)
        queue = context.SimpleQueue()
        process = context.Process(target=fuzz, args=(name, seconds / 2**attempt, seed + 1000 * attempt, its, queue))
        process.start()
        its.close()
        what, data = _follow(mine, process, limit, lambda queue=queue: take(queue))  # type: ignore[misc]
        process.join()
        take(queue)
        if what is None:
            break
        found.append((what, f"exit code {process.exitcode}", data))
    return outcomes, found


def _follow(mine: Any, process: Any, limit: float, take: Callable[[], None]) -> tuple[str | None, bytes]:
    """Receive each case before it is read, until the last; what went wrong with which."""
    data = b""
    while True:
        try:
            if not mine.poll(limit):
                process.kill()
                return f"hang of more than {limit:g} s", data
            packed = mine.recv()
        except EOFError:
            return "the process died", data
        if packed is None:
            return None, b""
        data = zlib.decompress(packed)
        take()


def main() -> None:
    """Fuzz every reader, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900, help="CPU time of all readers together")
    parser.add_argument("--limit", type=float, default=20, help="seconds that a case may take")
    parser.add_argument("--only", action="append", help="name of a reader; repeat for several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        names = args.only or list(readers(Path(temporary)))
    results: dict[str, Any] = {"settings": {"seconds": args.seconds, "limit": args.limit, "seed": args.seed}}
    bad = 0
    for name in names:
        outcomes, found = watch(name, args.seconds / len(names), args.limit, args.seed)
        kinds = Counter(kind for kind, _, _ in found)
        bad += len(found)
        print(
            f"{name:<18}{sum(outcomes.values()):>8} cases {dict(outcomes)} findings: {dict(kinds) or 'none'}",
            flush=True,
        )
        first = {kind: (message, case) for kind, message, case in reversed(found)}
        results[name] = {
            "outcomes": outcomes,
            "findings": dict(kinds),
            "first": {k: {"message": m, "input": base64.b64encode(case).decode()} for k, (m, case) in first.items()},
        }
    print(f"{bad} findings")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
