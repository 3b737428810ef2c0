"""Touch contacts and the hand camera: the library's recipe against plain InfoNCE with the same networks.

Used by `real_stage_one.py`. `touch` is the difference of a frame to the sensor's own background: on raw frames the
background names the object, which `audit_pairs` reports. Retrieval is among all test contacts, and among those of the
same object only, where knowing the object does not help.

Note:
    175 training and 44 test contacts of 6 objects. With `fold`, a quarter of the training contacts stands in for the
    test: that is where the settings were chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.measure import pair_embeddings
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.retrieval import bidirectional

CONFIG = Path(__file__).parents[1] / "configs" / "real" / "touch_image.yaml"
PLAIN = ("loss.reconstruct=0", "loss.minimal=0", "loss.gate=0", "loss.gates=false", "loss.noise=0", "latent.private=0")
THIRD = (  # a second camera at the same moment, as a third modality that only training sees
    "modalities.third={encoder: touch_cnn, options: {size: 48, channels: 16, cells: 6}}",
    "edges=[{between: [image, touch], shards: contacts}, {between: [image, third], shards: contacts, weight: 0.5}, "
    "{between: [third, touch], shards: contacts, weight: 0.5}]",
)
ARMS: dict[str, Sequence[str]] = {  # what differs from the configuration
    "recipe": (),
    "plain": PLAIN,
    "recipe-third": THIRD,
    "plain-third": (*PLAIN, *THIRD),
    "recipe-frames": ("edges.0.shards=frames",),
    "plain-frames": (*PLAIN, "edges.0.shards=frames"),
}
FOLDS = 4


def pack_touch(data: Path, out: Path, fold: int | None = None) -> Path:
    """Pack `contacts` (the peak frame of each, two cameras) and `frames` (all four of each training contact)."""
    for name, modalities in (("contacts", ["image", "third", "touch"]), ("frames", ["image", "touch"])):
        if not (out / name / "index.json").exists():
            rows = _rows(data / "touch", name == "frames", fold)
            pack_pairs(rows, out / name, modalities=modalities, progress=False)
    return out


def contact_rows(data: Path, fold: int | None = None) -> Iterator[dict[str, Any]]:
    """The peak frame of every contact with both cameras, as rows to pack, in an order of their own."""
    return _rows(data / "touch", False, fold)


def _rows(folder: Path, frames: bool, fold: int | None) -> Iterator[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    contacts = [row for row in map(json.loads, lines) if row["set"] == "objectfolder_real_contacts"]
    order = np.random.default_rng(0).permutation(len(contacts))
    for place in order:
        row, split = contacts[place], contacts[place]["split"]
        if fold is not None:
            if split == "test":
                continue
            split = "test" if place % FOLDS == fold else "train"
        common = {"split": split, "group": row["object"], "label": row["object"]}
        if not frames:
            sides = {"image": "image", "third": "image_third_view", "touch": "touch_diff"}
            yield {"key": row["id"], **{side: folder / row[field] for side, field in sides.items()}, **common}
        elif split == "train":
            background = _read(folder / row["touch_background"])
            for number, (touch, image) in enumerate(zip(row["touch_frames"], row["image_frames"], strict=True)):
                difference = np.clip(128 + _read(folder / touch) - background, 0, 255).astype(np.uint8)
                pair = {"image": folder / image, "touch": Image.fromarray(difference)}
                yield {"key": f"{row['id']}_{number}", **pair, **common}


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def score_touch(
    packed: Path, work: Path, name: str, seed: int, overrides: Sequence[str] = (), tag: str = ""
) -> dict[str, Any]:
    """Train one arm and retrieve both ways among the test contacts; all, and of the same object only."""
    out = work / "runs" / f"{packed.name}-{name}{tag}-{seed}"
    where = [f"data.root={packed}", f"out={out}", f"seed={seed}"]
    config = load_config(AlignConfig, CONFIG, [*where, *ARMS[name], *overrides])
    start = time.process_time()
    run = align_pairs(config, progress=False)
    seconds = time.process_time() - start
    pool = encode_pool(run, packed / "contacts", "test", progress=False)
    image, touch = pair_embeddings(run.aligner, pool, "image", "touch")
    assert pool.groups is not None
    found: dict[str, Any] = {
        "cpu_seconds": seconds,
        "steps": config.train.steps,
        "n": len(image),
        "intervals": {},
        "hits": {},
    }
    for where_, restrict in (("all", None), ("same object", (pool.groups, pool.groups))):
        both = bidirectional(image, touch, restrict=restrict, seed=seed)
        for way, score in (("image to touch", both[0]), ("touch to image", both[1])):
            one = score.recall[1]
            found[f"{where_}, {way}"] = one.value
            found["intervals"][f"{where_}, {way}"] = [one.low, one.high, one.chance]
            found["hits"][f"{where_}, {way}"] = [int(rank < 1.5) for rank in score.ranks.tolist()]  # for paired tests
    return found
