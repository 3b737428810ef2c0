"""Whether every file of a folder is there whole, and can be read."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors import safe_open


def half_written(folder: Path) -> str | None:
    """A file that is only half there, a temporary one or one that cannot be read; None for none."""
    for path in _files(folder):
        if "partial" in str(path.relative_to(folder)):
            return f"{path.relative_to(folder)} is left"
        try:
            _read(path)
        except Exception as error:
            return f"{path.relative_to(folder)} cannot be read: {error!r}"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read(path: Path) -> object:
    if path.name.startswith(".") and path.suffix == ".lock":
        return None
    read = READERS.get(path.suffix)
    return path.read_bytes() if read is None else read(path)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _lines(path: Path) -> list[Any]:
    text = path.read_text()
    if text and not text.endswith("\n"):
        raise ValueError("half a line")
    return [json.loads(line) for line in text.splitlines()]


def _members(path: Path) -> list[str]:
    with tarfile.open(path) as file:
        return file.getnames()


def _page(path: Path) -> str:
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError("half a page")
    return text


def _picture(path: Path) -> object:
    with Image.open(path) as image:
        return image.load()


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _lines,
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".safetensors": _tensors,
    ".npy": np.load,
    ".tar": _members,
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".html": _page,
    ".png": _picture,
}
