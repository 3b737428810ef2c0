"""TVL's recipe, a training step with cached anchors against one that runs the frozen towers.

    python bench/tvl_cached_anchors.py --out tvl_cached_anchors.json

The recipe of TVL (Fu et al. 2024, arXiv:2402.13232): a tactile ViT-Ti/16 at 224 pixels, trained against frozen
open_clip ViT-L/14 image and text towers. Both arms take the same steps of the library's own training loop body: read
and decode the pairs from shards, both edges' losses, backward, AdamW; they differ only in where the towers' features
come from. Blocks of the two arms alternate in one process, and each ratio is of two neighbouring blocks.

Note:
    Random weights serve for timing; the pictures are synthetic; the cost of building the cache, paid once, is reported
    beside the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pairalign.align.dataset import PairBatch, PairDataset, SideSource
from pairalign.align.model import PairAligner, build_aligner
from pairalign.align.run import build_datasets
from pairalign.align.task import parameter_groups
from pairalign.core.config import AlignConfig, load_config
from pairalign.data.pack import pack_pairs

EDGES = (("image", "touch"), ("text", "touch"))


def make_shards(folder: Path, samples: int, seed: int) -> None:
    """Pack synthetic image, touch and text triples; both edges read the same folder."""
    rng = np.random.default_rng(seed)

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(samples):
            coarse = rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
            image, touch = (Image.fromarray(c).resize((224, 224), Image.Resampling.BICUBIC) for c in coarse)
            text = "This image gives tactile feelings of " + ", ".join(rng.choice(WORDS, 3, replace=False))
            yield {"key": f"{number:05d}", "image": image, "touch": touch, "text": text}

    pack_pairs(rows(), folder, modalities=["image", "touch", "text"], synthetic=True, progress=False)


WORDS = ("smooth", "soft", "rough", "bumpy", "hard", "textured", "fabric", "grainy", "slippery", "flat")


def configuration(root: Path, args: argparse.Namespace) -> AlignConfig:
    """The recipe as a configuration."""
    tower = {"tune": "none", "options": {"model": args.tower}}
    return load_config(
        AlignConfig,
        {
            "modalities": {
                "image": {"encoder": "openclip_image", **tower},
                "text": {"encoder": "openclip_text", **tower},
                "touch": {"encoder": "touch_vit", "options": {"preset": "tiny", "size": 224, "patch": 16}},
            },
            "edges": [{"between": list(edge), "shards": "pairs"} for edge in EDGES],
            "out": str(root / "run"),
            "seed": args.seed,
            "latent": {"shared": 512, "private": 0},
            "loss": {"reconstruct": 0, "minimal": 0, "gate": 0, "gates": False},
            "train": {"batch_size": args.batch, "lr": 1e-4, "accelerator": "cpu"},
            "data": {"root": str(root), "val_split": None},
        },
    )


class Arm:
    """One way to get the towers' features; `run` takes optimizer steps."""

    def __init__(
        self, aligner: PairAligner, datasets: dict[str, PairDataset], config: AlignConfig, cached: bool
    ) -> None:
        self.aligner = aligner
        self.optimizer = torch.optim.AdamW(parameter_groups(aligner, config.train.lr, config.train.weight_decay))
        self.batches: list[tuple[PairDataset, Iterator[PairBatch]]] = []
        for dataset in datasets.values():
            sources = [
                source if cached else replace(source, sides=_uncached(source.sides)) for source in dataset.sources
            ]
            self.batches.append((dataset, iter(replace(dataset, sources=sources))))

    def run(self, steps: int) -> float:
        """Take steps and return their mean seconds."""
        start = time.perf_counter()
        for _ in range(steps):
            loss = torch.zeros(())
            for dataset, batches in self.batches:
                batch = next(batches)
                for edge in dataset.edges:
                    a, b = (batch.sides[end] for end in edge)
                    loss = loss + self.aligner.total(self.aligner.edge_terms(edge, a, b))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / steps


def _uncached(sides: Mapping[str, SideSource]) -> dict[str, SideSource]:
    return {end: replace(side, cache=None) for end, side in sides.items()}


def measure(root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Build everything, then alternate blocks of the arms."""
    make_shards(root / "pairs", args.samples, args.seed)
    config = configuration(root, args)
    torch.manual_seed(args.seed)
    aligner = build_aligner(config)
    start = time.perf_counter()
    datasets = build_datasets(config, aligner)["train"]
    build = time.perf_counter() - start
    arms = {"towers": Arm(aligner, datasets, config, False), "cached": Arm(aligner, datasets, config, True)}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        arm.run(1)  # opens files and loads kernels
    steps = {"towers": 1, "cached": args.steps}
    for repeat in tqdm(range(args.repeats), desc="pairs of blocks"):
        for name in list(arms)[:: 1 if repeat % 2 else -1]:
            seconds[name].append(arms[name].run(steps[name]))
    pairs = args.batch * len(EDGES)
    ratios = [t / c for t, c in zip(seconds["towers"], seconds["cached"], strict=True)]
    return {
        "settings": {
            **vars(args),
            "out": None,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "samples_per_second": {name: pairs / statistics.median(values) for name, values in seconds.items()},
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "cache_seconds_per_sample": build / args.samples,
        "seconds_per_step": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tower", default="ViT-L-14", help="open_clip model of both frozen towers")
    parser.add_argument("--batch", type=int, default=16, help="pairs of each edge in a step")
    parser.add_argument("--steps", type=int, default=4, help="steps of a cached block; a block with towers is one step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), args)
    for name, value in found["samples_per_second"].items():
        print(f"{name:<8}{value:8.2f} pairs/s (median of {args.repeats})")
    print(f"cached / towers: {found['ratio']:.1f}x ({found['ratio_min']:.1f} to {found['ratio_max']:.1f})")
    print(f"building the cache once: {found['cache_seconds_per_sample']:.2f} s a sample")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
