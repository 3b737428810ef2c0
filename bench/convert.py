"""Conversion of image–touch JPEG pairs against copying the files, and its memory as the data set grows.

    python bench/convert.py --out convert.json

Makes Touch and Go's layout with 10,000 pairs of JPEG files (240 x 320, drawn once and varied), then in turn copies the
folder file by file (`cp -r`) and converts it with two workers, each to a fresh folder on the same disk: with files that
must be read from the disk, as a data set's are, and with all of them in the page cache. Memory: the peak resident set
of a conversion in one process, of a quarter of the pairs and of all.

Note:
    Linux only; directory entries stay cached; a conversion syncs each shard, a copy nothing. Warm ratios say how fast
    this machine's memory is: give TMPDIR=/dev/shm to leave the disk out of them altogether.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from fresh import spread
from shard_reading import drop

FRAMES = 100


def make(home: Path, count: int) -> None:
    """The layout, with files that all differ: a valid JPEG may be followed by anything after a comment segment."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.uniform(0, 255, (15, 20, 3)), np.ones((16, 16, 1)))
    sources = []
    for _ in range(8):
        stream = home / "source.jpg"
        noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(stream, quality=90)
        sources.append(stream.read_bytes())
        stream.unlink()
    lines = []
    for number in tqdm(range(count), desc="make pairs"):
        name = f"20220510_{number // FRAMES:06d}/{number % FRAMES:010d}.jpg"
        for place, side in enumerate(("video_frame", "gelsight_frame")):
            recording, file = name.split("/")
            path = home / "dataset" / recording / side / file
            path.parent.mkdir(parents=True, exist_ok=True)
            data = sources[(number + place) % len(sources)]
            comment = f"{number}-{place}".encode()
            path.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:])
        lines.append(f"{name},{number % 19}")
    (home / "train.txt").write_text("\n".join(lines[: count * 3 // 4]))
    (home / "test.txt").write_text("\n".join(lines[count * 3 // 4 :]))


def convert(home: Path, out: Path, workers: int, limit: int | None = None) -> None:
    """The real command."""
    command = [sys.executable, "-m", "pairalign", "data", "convert", "touch-and-go", home, "-o", out, "--quiet"]
    command += ["--workers", str(workers), *(["--limit", str(limit)] if limit else [])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def peak(home: Path, limit: int) -> float:
    """Peak resident memory of a conversion by one process, MiB."""
    script = (
        "import sys; from pathlib import Path; from pairalign.data.convert import convert_data\n"
        "convert_data('touch-and-go', sys.argv[1], sys.argv[2], limit=int(sys.argv[3]), progress=False)\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"  # getrusage counts the parent's peak, too
        "print(next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1024)"
    )
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        command = [sys.executable, "-c", script, home, f"{folder}/out", str(limit)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(home: Path, args: argparse.Namespace, dropped: list[Path]) -> dict[str, list[float]]:
    """Seconds of copying and of converting, in turn; `dropped` files leave the page cache first."""
    times: dict[str, list[float]] = {"copy": [], "convert": []}
    for _ in tqdm(range(args.repeats), desc="cold" if dropped else "warm"):
        for arm in times:
            target = home.parent / arm
            os.sync()  # neither arm pays for what the other left to be written
            if dropped and (left := drop(dropped)) > 0.01:
                raise SystemExit(f"{left:.0%} of the files stayed in the page cache: run with --no-cold.")
            start = time.perf_counter()
            if arm == "copy":
                subprocess.run(["cp", "-r", home, target], check=True)
            else:
                convert(home, target, args.workers)
            times[arm].append(time.perf_counter() - start)
            shutil.rmtree(target)
    return times


def main() -> None:
    """Copy and convert in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--cold", action=argparse.BooleanOptionalAction, default=True, help="measure with a cold cache, too"
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "data"
        home.mkdir()
        make(home, args.pairs)
        files = [path for path in home.rglob("*") if path.is_file()]
        caches = {"cold": files, "warm": []} if args.cold else {"warm": []}
        times = {name: measure(home, args, dropped) for name, dropped in caches.items()}
        memory = {n: [peak(home, n) for _ in range(3)] for n in (args.pairs // 4, args.pairs)}
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found["convert"], found["copy"], strict=True)]
        print(
            f"{args.pairs} pairs, {name}: copy {spread(found['copy'], ' s')}, convert {spread(found['convert'], ' s')}"
        )
        print(f"convert / copy, {name} {spread(ratios, 'x')}   to reach ≤ 2")
    for count, found in memory.items():
        print(f"peak memory, {count} pairs: {spread(found, ' MiB')}")
    if args.out:
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps({"seconds": times, "memory": memory}))
        partial.replace(args.out)


if __name__ == "__main__":
    main()
