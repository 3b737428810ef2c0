"""Packing JPEG pairs against webdataset's ShardWriter on the same files: the time of `data pack`.

    python bench/pack.py --out pack.json

Both arms read the bytes of two JPEGs a pair and write them into shards of 1,000 pairs, each in one process and one
thread unless --workers says otherwise. "ShardWriter" writes the two pictures alone and leaves it to the system when
they reach the disk; "durable" also waits for the disk after each shard, as ours does, and writes a meta.json for each
pair, as ours does. Ours starts from a manifest, so that reading it, the look at the first rows, the checks of every
picture, content ids, hashes and the index are in its time. Rounds alternate, files are warm, and each ratio is of two
neighbours; the first round warms up and is left out. "command" is `pairalign data pack` beside a script of ShardWriter,
each a process of its own with all that it imports.

Note:
    On a disk that is slow to write, arms that wait for it are alike; --folder /dev/shm shows the work. The pictures
    share their tables, as those of one camera do, so that ours decodes only the first of them (see `data.jpeg`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import webdataset
from PIL import Image

from pairalign.data.pack import pack_pairs

SHARD = 1000
SIDES = ("image", "touch")
SCRIPT = """
import json, sys, pathlib, webdataset
manifest, out = map(pathlib.Path, sys.argv[1:])
out.mkdir()
with webdataset.ShardWriter(f"{out}/train-%06d.tar", maxcount=1000, verbose=0) as writer:
    for row in map(json.loads, manifest.open()):
        sides = {f"{s}.jpg": (manifest.parent / row[s]).read_bytes() for s in ("image", "touch")}
        writer.write({"__key__": row["key"], **sides})
"""


def make_manifest(folder: Path, pairs: int, size: tuple[int, int]) -> Path:
    """Pictures of gradients and sensor noise as JPEGs of quality 90, and the manifest that names them."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (2 * size[1], 2 * size[0], 3))
    rows = []
    for number in range(pairs):
        row = {"key": f"{number:06d}"}
        for side in SIDES:
            coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size)
            top, left = rng.integers(0, size[1]), rng.integers(0, size[0])
            pixels = np.asarray(coarse) + noise[top : top + size[1], left : left + size[0]]
            row[side] = f"{side}/{number:06d}.jpg"
            (folder / side).mkdir(exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / row[side], quality=90)
        rows.append(row)
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "m.jsonl"


def ours(manifest: Path, out: Path, workers: int) -> None:
    """The library's, without a progress bar."""
    pack_pairs(manifest, out, shard_samples=SHARD, workers=workers, progress=False)


def theirs(manifest: Path, out: Path, durable: bool) -> None:
    """ShardWriter's; fields are named as ours are."""
    out.mkdir()
    post = _wait_for_disk if durable else None
    with (
        manifest.open(encoding="utf-8") as lines,
        webdataset.ShardWriter(f"{out}/train-%06d.tar", maxcount=SHARD, verbose=0, post=post) as writer,
    ):
        for line in lines:
            row = json.loads(line)
            sample: dict[str, Any] = {"__key__": row["key"]}
            if durable:
                sample["meta.json"] = b'{"split": "train"}'
            for side in SIDES:
                sample[f"{side}.jpg"] = (manifest.parent / row[side]).read_bytes()
            writer.write(sample)


def _wait_for_disk(name: str) -> None:
    with open(name, "rb") as stream:
        os.fsync(stream.fileno())


def command(*words: object) -> None:
    """A process of its own."""
    subprocess.run([sys.executable, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


class Cost(NamedTuple):
    """Seconds of one run: by the clock, and of the processor, which others on the machine disturb less."""

    wall: float
    cpu: float


def timed(arm: Callable[[Path], None], out: Path) -> Cost:
    """One run into a folder that is not there, and is not there afterwards."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    arm(out)
    cost = Cost(time.perf_counter() - started, sum(os.times()[:4]) - before)
    shutil.rmtree(out)
    return cost


def measure(manifest: Path, workers: int, rounds: int) -> list[dict[str, Cost]]:
    """The cost of each arm, for each round."""
    packed = ("-m", "pairalign", "data", "pack", manifest)
    told = ("--quiet", "--shard-samples", SHARD, "--workers", workers)
    arms: dict[str, Callable[[Path], None]] = {
        "ours": lambda out: ours(manifest, out, workers),
        "ShardWriter": lambda out: theirs(manifest, out, False),
        "ShardWriter durable": lambda out: theirs(manifest, out, True),
        "command ours": lambda out: command(*packed, out, *told),
        "command ShardWriter": lambda out: command("-c", SCRIPT, manifest, out),
    }
    found = []
    for _ in range(rounds + 1):
        found.append({name: timed(arm, manifest.parent / "out") for name, arm in arms.items()})
        print("  ".join(f"{name} {cost.wall:.2f} s ({cost.cpu:.2f})" for name, cost in found[-1].items()), flush=True)
    return found[1:]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes of our arm; ShardWriter has one")
    parser.add_argument("--folder", type=Path, default=None, help="where files and shards lie; default: temporary")
    parser.add_argument("--out", type=Path, default=Path("pack.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        manifest = make_manifest(Path(name), args.pairs, tuple(args.size))
        bytes_ = [path.stat().st_size for side in SIDES for path in (Path(name) / side).iterdir()]
        rounds = measure(manifest, args.workers, args.rounds)
    compared = {
        "ours / ShardWriter": ("ours", "ShardWriter"),
        "ours / ShardWriter durable": ("ours", "ShardWriter durable"),
        "command / ShardWriter": ("command ours", "command ShardWriter"),
    }
    ratios = {
        f"{name}, {clock}": [getattr(r[one], clock) / getattr(r[other], clock) for r in rounds]
        for name, (one, other) in compared.items()
        for clock in ("wall", "cpu")
    }
    told = {
        "pairs": args.pairs,
        "size": list(args.size),
        "bytes of a picture": round(statistics.mean(bytes_)),
        "shard_samples": SHARD,
        "workers": args.workers,
        "folder": str(args.folder or tempfile.gettempdir()),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "pillow": PIL.__version__, "wds": webdataset.__version__},
        "seconds (wall, cpu)": {arm: [[round(x, 3) for x in r[arm]] for r in rounds] for arm in rounds[0]},
        "ratio": {n: {"median": statistics.median(r), "lowest": min(r), "highest": max(r)} for n, r in ratios.items()},
    }
    args.out.write_text(json.dumps(told, indent=1) + "\n")
    for name, found in ratios.items():
        print(f"{name}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
