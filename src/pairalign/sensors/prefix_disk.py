"""Keys and values of what stands before prompts' first signals, kept in files where memory does not hold them.

A file is named after what it was made of: the model's weights and the numbers it computes in, the prompt's tokens and
the pixels of its pictures. Whoever goes on after a kill finds what the killed run left.

Note:
    A file that is damaged, and one that cannot be written, are said so once, and the prompt is read anew; what is wrong
    never becomes an answer. Reading a file pays where the prompt is long: it holds keys and values of every token in
    every layer. Several processes share the folder, each with its own part of what is free in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pairalign.core.errors import StorageError
from pairalign.dormant.cache import key_of
from pairalign.files import remove_leftovers, save_tensors

DIGEST, AHEAD = "sha256", "ahead"


class Row(NamedTuple):
    """Of one prompt's part before its first signal: keys and values (heads, tokens, width) of each layer, and by how
    much positions on several axes run ahead of the tokens."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    ahead: int

    @property
    def bytes(self) -> int:
        """What it takes."""
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer)


class PrefixDisk:
    """Rows in `folder`, by what they are.

    Args:
        folder: which may not exist yet.
        gib: GiB that the folder may hold, what lies there counted in.
        model: a hash of the model and the numbers that it computes in.
        processes: that share the folder; what is free goes to each in equal parts.
    """

    def __init__(self, folder: Path, gib: float, model: str, processes: int = 1) -> None:
        self.folder, self.model = folder, model
        self.told: set[str] = set()
        remove_leftovers(folder)
        self.room = (int(gib * 2**30) - sum(path.stat().st_size for path in folder.glob("*.safetensors"))) // processes

    def path(self, key: str) -> Path:
        """The file of one prompt's part, there or not."""
        return self.folder / f"{key_of([self.model, key])}.safetensors"

    def __contains__(self, key: str) -> bool:
        return bool(key) and self.path(key).exists()

    def load(self, key: str, device: torch.device) -> Row | None:
        """What a file holds; `None` where it is not there, or damaged, which is said."""
        path = self.path(key)
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about[DIGEST] != _digest(path, about[AHEAD], tensors):
                raise ValueError("its content is not what was written")
            count = len(tensors) // 2
            layers = tuple((tensors[f"{n}.keys"].to(device), tensors[f"{n}.values"].to(device)) for n in range(count))
            return Row(layers, int(about[AHEAD]))
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self._say("damaged", f"{str(path)!r} is damaged ({error}): its prompt is read anew.")
            path.unlink(missing_ok=True)
            return None

    def keep(self, key: str, row: Row) -> None:
        """Write a row, if there is room for it; says so once where it cannot be written, and writes no more."""
        if not key or row.bytes > self.room or key in self:
            return
        path, ahead = self.path(key), str(row.ahead)
        tensors = {f"{n}.{name}": t.cpu().contiguous() for n, kv in enumerate(row.layers)
                   for name, t in zip(("keys", "values"), kv, strict=True)}  # fmt: skip
        try:
            save_tensors(path, tensors, {AHEAD: ahead, DIGEST: _digest(path, ahead, tensors)})
            self.room -= path.stat().st_size
        except (OSError, StorageError) as error:
            self.room = 0
            self._say("full", f"prompts before their signals are kept on disk no more: {error}")

    def _say(self, kind: str, line: str) -> None:
        if kind not in self.told:
            print(line, file=sys.stderr)
        self.told.add(kind)


def _digest(path: Path, ahead: str, tensors: dict[str, Tensor]) -> str:
    return key_of([path.name, ahead, tensors])
