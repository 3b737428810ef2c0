"""Significance scores on disk: one safetensors file, written and read one matrix at a time.

Scores that are `abs(W)` times a factor of each input and output (magnitude, Wanda, Splash), or factors alone (those of
neurons), are kept as these factors, and computed again with the base's weights, to the bit; others as float32 matrices,
4 bytes a weight.

Note:
    The file says which score, settings and shapes it holds, and by hashes which scores and which weights these are.
    Factors are compared with the base when they are used; of matrices nobody compares the hashes, so keep them beside
    the base that they were made from.
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
from pairalign.core.record import as_record, parse_record
from pairalign.dormant.provenance import fingerprint
from pairalign.dormant.quantised import shape_of
from pairalign.dormant.selection.neurons import find_neurons
from pairalign.dormant.selection.relevant import is_relevance
from pairalign.dormant.significance.scores import Factored, Linears, base_weight, factored
from pairalign.files import replacing, save_tensors

ALIGN = 8
FORMULA, WHOLE = "abs(W) * inputs * outputs", "inputs * outputs"
UNKNOWN = "?" * 64  # holds the place of a hash until all is written


def save_scores(
    scores: Mapping[str, Tensor], linears: Linears, path: str | Path, *, progress: bool = True, **about: Any
) -> None:
    """Write the scores of `linears` under a temporary name, then rename.

    about: settings, kept as JSON in the file. To them come "sha256" of the tensors, one after the other as stored, and
    "weights", the SHA-256 of the hashes of the weights, one after the other in hex; of factors also "formula" and
    "layers", the hash of each weight.
    """
    path = Path(path)
    hashes = {name: fingerprint(base_weight(module)) for name, module in linears.items()}
    weights = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    if is_relevance(scores):
        about["relevance"] = True
    about = {"kind": "significance", **about, "weights": weights, "sha256": UNKNOWN}
    if isinstance(scores, Factored):
        _save_factors(scores, path, {**about, "formula": FORMULA if scores.of_weight else WHOLE, "layers": hashes})
    else:
        _save_matrices(scores, linears, path, about, progress)


def _save_factors(scores: Factored, path: Path, about: dict[str, Any]) -> None:
    kinds = {"inputs": scores.inputs, "outputs": scores.outputs}
    tensors = {
        f"{name}.{kind}": factors[name].detach().to("cpu", torch.float32, copy=True).contiguous()
        for name in about["layers"]
        for kind, factors in kinds.items()
        if name in factors
    }
    digest = hashlib.sha256(b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors))).hexdigest()
    save_tensors(path, tensors, {"pairalign": json.dumps({**about, "sha256": digest})})


def _save_matrices(
    scores: Mapping[str, Tensor], linears: Linears, path: Path, about: dict[str, Any], progress: bool
) -> None:
    shapes = {name: list(shape_of(module.weight)) for name, module in linears.items()}
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


def load_scores(path: str | Path) -> StoredScores:
    """The scores of a file, each read when it is asked for; raise `DormantError` if it is no significance file."""
    return StoredScores(Path(path))


class StoredScores(Mapping[str, Tensor]):
    """Scores (out, in), float32, by module name. about: the settings that they were made with.

    Scores that are kept as factors need the layers that they are of: `scores.of(linears)`, which `get_dormant_model`
    does by itself.
    """

    def __init__(self, path: Path, linears: Linears | None = None) -> None:
        self.path, self.linears = path, linears
        self.known: set[str] = set()  # layers whose weight was found to be the one that was scored
        try:
            with safe_open(path, "pt") as file:
                self.stored = set(file.keys())
                self.about = parse_record((file.metadata() or {})["pairalign"], dict[str, Any], "table")
                self.layers = as_record(self.about.get("layers", {}), dict[str, str])
        except FileNotFoundError as error:
            raise DormantError(f"scores {str(path)!r} is no file: write one with save_scores.") from error
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DormantError(f"scores {str(path)!r} is damaged, or no significance file ({error}).") from error
        self.factored, self.relevance = "formula" in self.about, bool(self.about.get("relevance"))
        if self.factored and self.about["formula"] not in (FORMULA, WHOLE):
            raise DormantError(
                f"scores {str(path)!r} follow {self.about['formula']!r}, this version knows {FORMULA!r} and {WHOLE!r}: "
                "score again."
            )
        if self.about.get("method") == "mnaft" and not self.relevance:
            raise DormantError(
                f"scores {str(path)!r} are MNAFT's as earlier versions understood it, which trained the least "
                "important neurons: score again."
            )
        self.names = list(self.layers) if self.factored else sorted(self.stored)

    def of(self, linears: Linears) -> StoredScores:
        """The same scores, of these layers."""
        return StoredScores(self.path, linears)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        parts = {kind: f"{name}.{kind}" for kind in ("inputs", "outputs")} if self.factored else {"scores": name}
        try:
            with safe_open(self.path, "pt") as file:
                read = {kind: file.get_tensor(key) for kind, key in parts.items() if key in self.stored}
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise DormantError(f"scores {str(self.path)!r}: those of {name} are damaged ({error}).") from error
        if not self.factored:
            return self._fitting(name, read["scores"], None)
        weight = self._weight(name)
        sizes = {"outputs": weight.shape[0], "inputs": weight.shape[1]}
        weight = weight if self.about["formula"] == FORMULA else torch.ones_like(weight)
        return factored(weight, **{kind: self._fitting(name, one, (sizes[kind],)) for kind, one in read.items()})

    def marks(self) -> dict[str, Tensor]:
        """(neurons,) by MLP, of scores that are marks; asks for no layers."""
        readers = {name: f"{weights[-1]}.inputs" for name, weights in find_neurons(self.names)[0].items()}
        try:
            with safe_open(self.path, "pt") as file:
                return {name: file.get_tensor(key) for name, key in readers.items()}
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise DormantError(f"scores {str(self.path)!r}: their marks are damaged ({error}).") from error

    def _fitting(self, name: str, found: Tensor, shape: tuple[int, ...] | None) -> Tensor:
        """The tensor; raise `DormantError` for another shape, or what is no number."""
        if found.is_floating_point() and (found.ndim == 2 if shape is None else tuple(found.shape) == shape):
            return found
        raise DormantError(
            f"scores {str(self.path)!r}: those of {name} are {found.dtype} of shape {tuple(found.shape)}, which fits "
            "no such layer: score again."
        )

    def _weight(self, name: str) -> Tensor:
        """The weight of a layer; raise `DormantError` if it is not the one that was scored."""
        if self.linears is None:
            raise DormantError(f"scores {str(self.path)!r} hold factors of a base's weights: ask scores.of(linears).")
        weight = base_weight(self.linears[name])
        if name not in self.known and fingerprint(weight) != self.layers[name]:
            raise DormantError(
                f"scores {str(self.path)!r} are of another base: {name}.weight is not what was scored. Load that base, "
                "or score this one."
            )
        self.known.add(name)
        return weight

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
