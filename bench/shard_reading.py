"""Reading shards against the same JPEG pairs as loose files: decode + resize warm and cold, reading alone
cold.

    python bench/shard_reading.py --out shard_reading.json

One worker, in process: what one loader worker does, without the transfer to the trainer, which is equal for
both and would only hide differences. Both arms read the bytes of two JPEGs, decode them with the same
function and resize both to 224 × 224; the shards also give key, content ids and meta. "training order"
shuffles: loose files by a permutation of all, shards as `read_samples(shuffle=1000)` does. Runs of the two
arms alternate, and each ratio is of two neighbours. Cold: written back, then dropped from the page cache with
posix_fadvise; mincore counts what stayed. Directory entries and inodes stay cached, which favours the loose
files, and a virtual disk may be cached by its host.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw
from tqdm import tqdm

from pairalign.data.decode import decode
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples

SIDES = ("image", "touch")
SIZE = (224, 224)


def make_pairs(folder: Path, pairs: int, seed: int) -> list[dict[str, object]]:
    """Write synthetic 320 × 240 photos (gradients, shapes, sensor noise) as JPEGs of quality 90."""
    rng = np.random.default_rng(seed)
    samples: list[dict[str, object]] = []
    for number in tqdm(range(pairs), desc="make pairs", unit="pair"):
        sample: dict[str, object] = {"key": f"{number:06d}"}
        for side in SIDES:
            path = folder / side / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(rng).save(path, quality=90)
            sample[side] = path
        samples.append(sample)
    return samples


def picture(rng: np.random.Generator) -> Image.Image:
    """One synthetic photo."""
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    image = coarse.resize((320, 240), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, w, h = (int(v) for v in rng.integers(0, 240, 4))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w // 2, y + h // 2), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    noisy = np.asarray(image, np.int16) + rng.normal(0, 6, (240, 320, 3)).astype(np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def consume(blobs: tuple[bytes, bytes]) -> None:
    """Decode and resize one pair."""
    for blob in blobs:
        decode("jpg", blob).convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)


def read_loose(samples: list[dict[str, object]], shuffle: bool, epoch: int, work: bool) -> None:
    """One pass over the loose files."""
    order = np.random.default_rng([0, epoch]).permutation(len(samples)) if shuffle else range(len(samples))
    for place in order:
        paths = [samples[place][side] for side in SIDES]
        blobs = tuple(open(path, "rb").read() for path in paths)  # type: ignore[arg-type]  # noqa: SIM115
        if work:
            consume(blobs)  # type: ignore[arg-type]


def read_shards(folder: Path, shuffle: bool, epoch: int, work: bool) -> None:
    """One pass over the shards."""
    order = {"shuffle": 1000 if shuffle else 0, "epoch": epoch}
    for sample in read_samples(folder, "train", SIDES, raw=not work, **order):  # type: ignore[arg-type]
        if work:
            for side in SIDES:
                sample.values[side].convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)


def drop(files: list[Path]) -> float:
    """Drop written-back files from the page cache; return the share of pages that stayed, by a sample."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return statistics.mean(resident(path) for path in files[:: max(1, len(files) // 50)])


def resident(path: Path) -> float:
    """Share of a file's pages in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    length = path.stat().st_size
    pages = -(-length // mmap.PAGESIZE)
    with path.open("rb") as stream:
        null, offset = ctypes.c_void_p(), ctypes.c_long(0)
        address = libc.mmap(null, ctypes.c_size_t(length), 1, 1, stream.fileno(), offset)
    flags = (ctypes.c_ubyte * pages)()
    if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), flags):
        raise OSError(ctypes.get_errno(), "mincore")
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))
    return sum(flag & 1 for flag in flags) / pages


def compare(
    arms: dict[str, Callable[[int], None]], files: dict[str, list[Path]], cold: bool, repeats: int, label: str
) -> dict[str, object]:
    """Alternate the arms; give seconds of each run and the ratio loose / shards of each neighbouring pair."""
    wall: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    stayed: list[float] = []
    for repeat in tqdm(range(repeats), desc=label, unit="pair of runs"):
        names = list(arms) if repeat % 2 else list(reversed(arms))
        for name in names:
            if cold:
                stayed.append(drop(files[name]))
            start, used = time.perf_counter(), time.process_time()
            arms[name](repeat)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    ratios = [a / b for a, b in zip(wall["loose"], wall["shards"], strict=True)]
    cpu_ratios = [a / b for a, b in zip(cpu["loose"], cpu["shards"], strict=True)]
    return {
        "case": label,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "cpu_ratio": statistics.median(cpu_ratios),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "pages_left_cached": max(stayed, default=None),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to make the data; default a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        results = measure(Path(temporary), args)
    for row in results["cases"]:
        print(
            f"{row['case']:<44}{row['ratio']:>7.3f}x  ({row['ratio_min']:.3f} to {row['ratio_max']:.3f}),"
            f" CPU {row['cpu_ratio']:.3f}x"
        )
    if args.out:
        args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


def measure(root: Path, args: argparse.Namespace) -> dict[str, list[dict[str, object]] | dict[str, object]]:
    """Make the data, then run every case."""
    samples = make_pairs(root / "loose", args.pairs, args.seed)
    shards = root / "shards"
    index = pack_pairs(samples, shards, seed=None)
    files = {
        "loose": [Path(str(s[side])) for s in samples for side in SIDES],
        "shards": list(shards.glob("*.tar")),
    }
    os.sync()  # only pages that are written back can be dropped
    cases = []
    for shuffle in (False, True):
        for work, cold in ((True, False), (True, True), (False, True)):
            arms: dict[str, Callable[[int], None]] = {
                "loose": lambda e, s=shuffle, w=work: read_loose(samples, s, e, w),  # type: ignore[misc]
                "shards": lambda e, s=shuffle, w=work: read_shards(shards, s, e, w),  # type: ignore[misc]
            }
            if not cold:
                for arm in arms.values():
                    arm(0)
            what = "decode + resize" if work else "reading alone"
            label = f"{what}, {'cold' if cold else 'warm'}, {'training' if shuffle else 'stored'} order"
            cases.append(compare(arms, files, cold, args.repeats, label))
    settings = {
        "pairs": args.pairs,
        "repeats": args.repeats,
        "seed": args.seed,
        "mean_jpeg_bytes": statistics.mean(path.stat().st_size for path in files["loose"]),
        "shards": len(index.splits["train"].shards),
        "python": platform.python_version(),
        "pillow": PIL.__version__,
        "cores": os.cpu_count(),
    }
    return {"settings": settings, "cases": cases}


if __name__ == "__main__":
    main()
