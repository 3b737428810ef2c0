"""Data sets of torch-geometric as a source of pairs: clouds, or surfaces to sample, and the name of their class.

`pos` becomes the modality `points`, with `normal` as columns four to six; a mesh (`face`) is sampled evenly by area,
with a seed of its own for each sample. A number `y` or `category` becomes the label, and its name the modality `text`,
where the data set lists names (`categories`, `classes` or `class_names`).

Note:
    `x` may be anything, normals, colours or features, so it is packed only where `x` says what its columns are; a
    transform of the data set that draws random numbers makes other samples each time it is packed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.made import Made

POINTS = 2048
NAMES = ("categories", "classes", "class_names")
COLUMNS = ("normal", "rgb")


def is_geometric(source: Any) -> bool:
    """Whether it is a data set of torch-geometric, found without importing that."""
    return any(
        cls.__module__.startswith("torch_geometric.data") and cls.__name__ == "Dataset" for cls in type(source).__mro__
    )


class GeometricSamples:
    """The samples of a torch-geometric data set, as `pack_pairs` takes them, in an order of `seed`, their own for None.

    points: sampled from each mesh. names: of the classes, by number, before those that the data set lists. x: what its
    node features are, "normal" or "rgb"; None leaves them out, which is said once.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        seed: int | None = 0,
        points: int = POINTS,
        names: Sequence[str] | None = None,
        x: str | None = None,
    ) -> None:
        if x is not None and x not in COLUMNS:
            raise DataError(f"x={x!r}: say what the node features are, 'normal' or 'rgb', or None to leave them out.")
        if not len(dataset):
            raise DataError(f"{type(dataset).__name__} holds no sample: nothing can be packed.")
        self.dataset, self.seed, self.points, self.x = dataset, seed or 0, points, x
        self.names = list(names) if names is not None else _listed(dataset)
        self.order = list(range(len(dataset)))
        if seed is not None:
            random.Random(seed).shuffle(self.order)
        first = self.dataset[0]
        self.columns = "xyz" + ("normal" if self._normal(first) is not None else "") + ("rgb" if x == "rgb" else "")
        if first.get("x") is not None and x is None:
            told = f"note: {type(dataset).__name__}: x of shape {tuple(first.x.shape)} is left out: say what it is with"
            print(f"{told} GeometricSamples(dataset, x='normal') or x='rgb'.", file=sys.stderr)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in self.order:
            yield self.sample(number)

    def sample(self, number: int) -> dict[str, Any]:
        """One sample as a dict of key, points, label and text."""
        data = self.dataset[number]
        made: dict[str, Any] = {"key": f"{number:08d}", "points": self._points(data, number)}
        target = _target(data)
        if target is None:
            return made
        if not self.names or not float(target).is_integer():
            return made | {"label": str(target)}
        if not 0 <= target < len(self.names):
            raise DataError(
                f"{type(self.dataset).__name__}[{number}] is of class {target}, and {len(self.names)} names are "
                f"listed ({', '.join(self.names[:3])}, …): give GeometricSamples(dataset, names=[…])."
            )
        name = self.names[int(target)].replace("_", " ")
        return made | {"label": name, "text": name}

    def facts(self, units: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
        """What the index records: the columns of the points, and what the caller says of them."""
        told = {name: dict(info) for name, info in (units or {}).items()}
        told["points"] = {"axes": ("point", self.columns)} | told.get("points", {})
        return told

    def _normal(self, data: Any) -> Any:
        if data.get("face") is not None:
            return None
        return data.x if self.x == "normal" else data.get("normal")

    def _points(self, data: Any, number: int) -> Any:
        if data.get("pos") is None or data.pos.ndim != 2 or data.pos.shape[1] != 3:
            what = "no pos" if data.get("pos") is None else f"pos of shape {tuple(data.pos.shape)}"
            return Made(refuse, (f"{type(self.dataset).__name__}[{number}] has {what}: points need (N, 3).",))
        if data.get("face") is not None:
            mesh = (data.pos.numpy().astype(np.float64), data.face.T.numpy())
            return Made(on_surface, (*mesh, self.points, self.seed + number))
        parts = [data.pos, self._normal(data), data.x if self.x == "rgb" else None]
        found = [part.numpy() for part in parts if part is not None]
        if any(part.shape != found[0].shape for part in found):
            shapes = ", ".join(str(part.shape) for part in found)
            return Made(
                refuse, (f"{type(self.dataset).__name__}[{number}]: parts of shape {shapes}: give (N, 3) each.",)
            )
        return np.concatenate(found, 1)


def on_surface(vertices: np.ndarray, triangles: np.ndarray, count: int, seed: int) -> np.ndarray:
    """As `sample_surface`, whose package packs, and so cannot be imported by what packing imports."""
    from pairalign.data.convert.mesh import sample_surface

    return sample_surface(vertices, triangles, count, seed)


def refuse(reason: str) -> Any:
    """Raise `DataError` where the sample is written, so that it may be skipped as any bad one."""
    raise DataError(reason)


def _listed(dataset: Any) -> list[str]:
    for attribute in NAMES:
        found = getattr(dataset, attribute, None)
        if isinstance(found, (list, tuple)) and found and all(isinstance(name, str) for name in found):
            return list(found)
    return []


def _target(data: Any) -> int | float | None:
    """The one number that says what a sample is, if there is one."""
    for name in ("category", "y"):
        value = data.get(name)
        if value is not None and getattr(value, "numel", lambda: 1)() == 1:
            number = value.item() if hasattr(value, "item") else value
            return int(number) if float(number).is_integer() else float(number)
    return None
