"""Small folders in the true dataset formats, and how their shards are read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairalign.data.convert import Conversion, convert_data
from pairalign.data.index import load_index
from pairalign.data.reader import RawSample
from pairalign.data.shards import read_samples


def picture(path: Path, seed: int, size: tuple[int, int] = (24, 32), flat: float = 0.0) -> Path:
    """A JPEG of noise, or with `flat` near 1 of a smooth gradient, as a gel looks."""
    noise = np.random.default_rng(seed).uniform(0, 255, (*size, 3))
    smooth = np.linspace(60, 180, size[1])[None, :, None] * np.ones((*size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((flat * smooth + (1 - flat) * noise).astype(np.uint8)).save(path, quality=95)
    return path


def recordings(home: Path, count: int, frames: int, size: tuple[int, int] = (24, 32)) -> Path:
    """Touch and Go, whole."""
    lines = []
    for number in range(count):
        for frame in range(frames):
            name = f"20220510_{number:06d}/{frame:010d}.jpg"
            for place, side in enumerate(("video_frame", "gelsight_frame")):
                recording, file = name.split("/")
                picture(home / "dataset" / recording / side / file, 1000 * number + 2 * frame + place, size)
            lines.append(f"{name},{number % 5}")
    (home / "train.txt").write_text("\n".join(lines[: len(lines) // 2]))
    (home / "test.txt").write_text("\n".join(lines[len(lines) // 2 :]))
    return home


def cut(path: Path) -> None:
    """Make a file look like a download that broke off."""
    path.write_bytes(path.read_bytes()[:-200])


def convert(name: str, folder: Path, out: Path, **settings: Any) -> Conversion:
    """`convert_data` without a progress bar."""
    return convert_data(name, folder, out, progress=False, **settings)


def read_back(folder: Path, split: str | None = None) -> dict[str, RawSample]:
    """Samples by key, of one split or of all."""
    index = load_index(folder)
    names = [split] if split else list(index.splits)
    return {s.key: s for name in names for s in read_samples(folder, name, list(index.modalities))}
