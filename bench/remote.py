"""Shards from a bucket on the loopback against webdataset's own pipeline on the same URLs, the cache against local
shards, and the start with 10,000 shards.

    python bench/remote.py --out remote.json

Both arms of the first table read JPEG pairs with two loader workers, decode them with Pillow, resize both sides to
224 × 224 and give batches of 64 as uint8 tensors; both shuffle by 1,000 samples. webdataset splits its shards over the
workers and fetches each with curl, as it does by default; ours starts with an empty cache each time. The second table
is the pass after that, against the same shards in a folder, page cache warm. Arms alternate; a ratio is of neighbours.
The bucket is moto's, in a process of its own on the same cores: its work slows both arms, and is not in their processor
time, which tells more than the clock on a machine that others use. The start is timed on a web server of its own that
gives one shard under 10,000 names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from pairalign.data.index import load_index, save_index
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples
from shard_reading import SIDES, SIZE, make_pairs

BATCH, WORKERS, SHUFFLE = 64, 2, 1000
SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


def prepared(image: Image.Image) -> np.ndarray:
    """One side, as both arms prepare it."""
    return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))


def stacked(rows: list[tuple[np.ndarray, ...]]) -> tuple[torch.Tensor, ...]:
    """A batch."""
    return tuple(torch.from_numpy(np.stack(side)) for side in zip(*rows, strict=True))


class Ours(IterableDataset[Any]):
    """Batches of one pass over a place."""

    def __init__(self, place: str, epoch: int) -> None:
        self.place, self.epoch = place, epoch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        info = get_worker_info()
        assert info is not None
        order: dict[str, Any] = {"shuffle": SHUFFLE, "epoch": self.epoch, "block": BATCH}
        order |= {"worker": info.id, "workers": info.num_workers}
        rows = []
        for sample in read_samples(self.place, "train", SIDES, **order):
            rows.append(tuple(prepared(sample.values[side]) for side in SIDES))
            if len(rows) == BATCH:
                yield stacked(rows)
                rows = []
        if rows:
            yield stacked(rows)


def ours(place: str, epoch: int) -> int:
    """Samples of one pass; the main process reads the index before its workers start, as a run does."""
    load_index(place)
    return sum(len(a) for a, _ in DataLoader(Ours(place, epoch), batch_size=None, num_workers=WORKERS))


def theirs(urls: str, epoch: int) -> int:
    """Samples of one pass of webdataset's pipeline."""
    data = wds.WebDataset(urls, shardshuffle=100, nodesplitter=None, seed=epoch).shuffle(SHUFFLE).decode("pil")
    data = data.map(lambda sample: tuple(prepared(sample[f"{side}.jpg"]) for side in SIDES))
    data = data.batched(BATCH, collation_fn=stacked)
    return sum(len(a) for a, _ in DataLoader(data, batch_size=None, num_workers=WORKERS))


def compare(
    arms: dict[str, Callable[[int], int]], count: int, repeats: int, reset: Callable[[], None]
) -> dict[str, Any]:
    """Samples a second of two arms, and the ratio first / second of each neighbouring pair of runs."""
    speed: dict[str, list[float]] = {name: [] for name in arms}
    work: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in tqdm(range(repeats + 1), desc=" / ".join(arms), unit="pair of runs"):  # the first warms up
        for name in list(arms) if repeat % 2 else list(reversed(arms)):
            reset()
            start, used = time.perf_counter(), processor()
            found = arms[name](repeat)
            assert found == count, (name, found, count)
            speed[name].append(count / (time.perf_counter() - start))
            work[name].append((processor() - used) / count * 1e3)
    speed = {name: values[1:] for name, values in speed.items()}
    ratios = [a / b for a, b in zip(*speed.values(), strict=True)]
    return {
        "samples_per_second": {name: [round(v, 1) for v in values] for name, values in speed.items()},
        "median": {name: round(statistics.median(values), 1) for name, values in speed.items()},
        "ratio": round(statistics.median(ratios), 3),
        "processor_ms_per_sample": {name: round(statistics.median(v[1:]), 3) for name, v in work.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def processor() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def start_up(folder: Path, work: Path, shards: int) -> dict[str, Any]:
    """Seconds from a fresh process, imports done, to the first sample of `shards` shards on a web server."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from shard_servers import serving

    index = load_index(folder)
    first = index.splits["train"].shards[0]
    many = tuple(replace(first, name=f"train-{number:06d}.tar") for number in range(shards))
    split = replace(index.splits["train"], count=first.count * shards, shards=many)
    work.mkdir()
    save_index(replace(index, splits={"train": split}), work)
    shutil.copy(folder / first.name, work / "one")
    code = """
import json, sys, time
from pairalign.data.index import load_index
from pairalign.data.place import find_place
from pairalign.data.remote import cache
from pairalign.data.shards import count_samples, read_samples
place, start, used = find_place(sys.argv[1]), time.perf_counter(), time.process_time()
load_index(place).digest("train"), count_samples(place, "train")
read = time.perf_counter() - start
next(read_samples(place, "train", ["image", "touch"], shuffle=1000, block=64))
found = {"index": read, "first sample": time.perf_counter() - start, "processor": time.process_time() - used}
print(json.dumps(found))
"""
    with serving(work) as server:
        server.alias = "one"
        environment = {**os.environ, "PAIRALIGN_CACHE": str(work / "cache")}
        found = subprocess.run(
            [sys.executable, "-c", code, server.url], capture_output=True, env=environment, check=True
        )
        asked = len(server.asked)
    return {"shards": shards, "samples": split.count, "requests": asked, **json.loads(found.stdout)}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--shard-samples", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--port", type=int, default=5055)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as held:
        found = measure(args, Path(held))
    settings = {"batch": BATCH, "workers": WORKERS, "shuffle": SHUFFLE, "pairs": args.pairs}
    settings |= {"shard samples": args.shard_samples, "repeats": args.repeats, "cores": os.cpu_count()}
    settings |= {"python": platform.python_version(), "webdataset": wds.__version__, "torch": torch.__version__}
    result = {"settings": settings, **found}
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All three tables."""
    import boto3

    folder, cache = work / "pairs", work / "cache"
    os.environ["PAIRALIGN_CACHE"] = str(cache)
    pack_pairs(make_pairs(work / "loose", args.pairs, 0), folder, split="train", shard_samples=args.shard_samples)
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(args.port)], stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{args.port}"
    try:
        time.sleep(8)
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=endpoint, **keys)
        client.create_bucket(Bucket="pairs")
        for path in sorted(folder.iterdir()):
            client.put_object(Bucket="pairs", Key=path.name, Body=path.read_bytes(), ACL="public-read")
        last = len(load_index(folder).splits["train"].shards) - 1
        urls = f"{endpoint}/pairs/train-{{000000..{last:06d}}}.tar"

        def empty() -> None:
            for path in cache.glob("*.tar"):
                path.unlink()

        place = f"{endpoint}/pairs"
        arms = {"bucket": lambda n: ours(place, n), "webdataset": lambda n: theirs(urls, n)}
        first = compare(arms, args.pairs, args.repeats, empty)
        arms = {"cache": lambda n: ours(place, n), "local": lambda n: ours(str(folder), n)}
        second = compare(arms, args.pairs, args.repeats, lambda: None)
    finally:
        server.terminate()
        server.wait()
    return {
        "bucket / webdataset": first,
        "cache / local": second,
        "start": start_up(folder, work / "many", args.shards),
    }


if __name__ == "__main__":
    main()
