"""Stage one's dataset, JPEG pairs to batches at 224 with views, against webdataset with torchvision's v2 transforms.

    python bench/feed.py --out feed.json

Both arms read the same tar shards and give float32 batches, normalised, that an encoder could take: a shift by up to 6
% of the side and a small change of light for each picture. webdataset shuffles in a buffer of 1,000 and keeps bytes
until the last transform, as torchvision's documentation advises; the dataset also checks each sample against its
encoder's declared signal and carries content ids. Passes of the two arms alternate, and each ratio is of two
neighbours. The first batch of a pass, with the start of workers, is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
import webdataset
from torchvision.transforms import v2
from tqdm import tqdm

from pairalign.align.dataset import DatasetSource, PairDataset, SideSource
from pairalign.core.registry import create_encoder
from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs
from shard_reading import make_pairs

SIDE, EDGE = 224, ("image", "touch")
MEAN = {"image": ((0.481, 0.458, 0.408), (0.269, 0.261, 0.276)), "touch": ((0.5,) * 3, (0.5,) * 3)}
TOWER = {"embed_dim": 64, "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": 32}}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


def our_batches(shards: Path, workers: int, batch: int) -> Iterator[Any]:
    """The dataset of stage one, with two encoders that train."""
    encoders = {
        "image": create_encoder("openclip_image", config={**TOWER, "text_cfg": TEXT}),
        "touch": create_encoder("touch_vit", preset="mini", size=SIDE),
    }
    sides = {end: SideSource(end, encoder) for end, encoder in encoders.items()}
    dataset = PairDataset([DatasetSource(shards, "train", sides)], [EDGE], batch)
    for pair in BatchLoader(dataset, workers):
        yield encoders["image"].as_float(pair.a.value), encoders["touch"].as_float(pair.b.value)


def their_batches(shards: Path, workers: int, batch: int) -> Iterator[Any]:
    """webdataset's pipeline and loader."""
    views = [
        v2.Compose(
            [
                v2.ToImage(),
                v2.Resize((SIDE, SIDE), antialias=True),
                v2.RandomCrop(SIDE, padding=13, padding_mode="edge"),
                v2.ColorJitter(0.1, 0.1),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(*MEAN[end]),
            ]
        )
        for end in EDGE
    ]
    urls = sorted(map(str, shards.glob("*.tar")))
    data = webdataset.WebDataset(urls, shardshuffle=len(urls), resampled=True, seed=0)
    data = data.shuffle(1000).decode("pilrgb").to_tuple("image.jpg", "touch.jpg").map_tuple(*views).batched(batch)
    yield from webdataset.WebLoader(data, batch_size=None, num_workers=workers)


def rate(batches: Iterator[Any], count: int) -> float:
    """Pairs a second over `count` batches after the first."""
    next(batches)
    start, pairs = time.perf_counter(), 0
    for _ in range(count):
        a, b = next(batches)
        assert a.dtype == b.dtype == torch.float32
        assert a.shape[-2:] == b.shape[-2:] == (SIDE, SIDE)
        pairs += len(a)
    return pairs / (time.perf_counter() - start)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of JPEGs of 320 × 240")
    parser.add_argument("--batches", type=int, default=15)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    arms: dict[str, Callable[[Path, int, int], Iterator[Any]]] = {"dataset": our_batches, "webdataset": their_batches}
    torch.set_num_threads(1)
    found: dict[str, Any] = {"settings": {**vars(args), "out": None, "cores": os.cpu_count()}}
    packages = {"torch": torch, "torchvision": torchvision, "webdataset": webdataset}
    found["settings"] |= {name: package.__version__ for name, package in packages.items()}
    found["settings"]["python"] = platform.python_version()
    with tempfile.TemporaryDirectory() as temporary:
        shards = Path(temporary) / "shards"
        pack_pairs(make_pairs(Path(temporary) / "loose", args.pairs, args.seed), shards, seed=None)
        for workers in (0, 2):
            rates: dict[str, list[float]] = {name: [] for name in arms}
            for _ in tqdm(range(args.repeats), desc=f"{workers} workers"):
                for name, arm in arms.items():
                    batches = arm(shards, workers, args.batch)
                    rates[name].append(rate(batches, args.batches))
                    del batches
            ratios = [a / b for a, b in zip(rates["dataset"], rates["webdataset"], strict=True)]
            middle = statistics.median(ratios)
            found[f"{workers} workers"] = {"ratio": middle, "from": min(ratios), "to": max(ratios), "pairs/s": rates}
            print(f"{workers} workers: {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
