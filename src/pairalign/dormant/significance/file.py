"""Significance scores on disk: one safetensors file, written and read one matrix at a time.

Where it bites: float32, 4 bytes a weight. The file says which score, settings and shapes it holds, and by hashes which
scores and which weights these are; nobody compares the hashes when it is used, so keep it beside the base that it was
made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from pairalign.core.errors import DormantError
from pairalign.dormant.provenance import fingerprint
from pairalign.dormant.significance.scores import Linears
from pairalign.files import replacing

ALIGN = 8
UNKNOWN = "?" * 64  # holds the place of a hash until all is written


def save_scores(
    scores: Mapping[str, Tensor], linears: Linears, path: str | Path, *, progress: bool = True, **about: Any
) -> None:
    """Write the scores of `linears` under a temporary name, then rename.

    about: settings, kept as JSON in the file. To them come "sha256" of the scores, layer by layer as stored, and
    "weights", the SHA-256 of the hashes of the weights, one after the other in hex.
    """
    path = Path(path)
    shapes = {name: list(module.weight.shape) for name, module in linears.items()}
    weights = hashlib.sha256("".join(fingerprint(module.weight) for module in linears.values()).encode()).hexdigest()
    about = {"kind": "significance", **about, "weights": weights, "sha256": UNKNOWN}
    header: dict[str, Any] = {"__metadata__": {"pairalign": json.dumps(about)}}
    end = 0
    for name, (rows, columns) in shapes.items():
        start, end = end, end + 4 * rows * columns
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGN)
    digest = hashlib.sha256()
    with replacing(path) as partial, partial.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in tqdm(shapes, desc="score", unit="layer", disable=not progress):
            score = scores[name].detach().to("cpu", torch.float32).contiguous()
            if list(score.shape) != shapes[name]:
                raise DormantError(f"score of {name} has shape {list(score.shape)}, its weight {shapes[name]}.")
            stream.write(score.numpy().data)
            digest.update(score.numpy().data)
        stream.seek(8 + text.rindex(UNKNOWN.encode()))
        stream.write(digest.hexdigest().encode())


def load_scores(path: str | Path) -> Mapping[str, Tensor]:
    """The scores of a file, each read when it is asked for; raise `DormantError` if it is no significance file."""
    return StoredScores(Path(path))


class StoredScores(Mapping[str, Tensor]):
    """Scores (out, in), float32, by module name. about: the settings that they were made with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                self.names = list(file.keys())
                self.about = json.loads((file.metadata() or {})["pairalign"])
        except FileNotFoundError as error:
            raise DormantError(f"scores {str(path)!r} is no file: write one with save_scores.") from error
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DormantError(f"scores {str(path)!r} is damaged, or no significance file ({error}).") from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
