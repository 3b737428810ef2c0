"""torch-geometric's transforms by name: those that draw a random view in training, all others on every cloud.

They draw from global generators, which are seeded for each call and put back after it: random views from the sample's
own generator, so that resuming and the number of workers change nothing, and SamplePoints and FixedPoints always alike.

Note:
    What stays the same for a cloud runs first, when it is read, and random ones after all of it and after the encoder's
    own rotation and jitter, whatever the order of the list; lengths are in the data's unit.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, SignalError, did_you_mean
from pairalign_pointcloud.columns import COLOUR, NORMAL, XYZ
from pairalign_pointcloud.raw import Cloud

PLAIN = ("Center", "FixedPoints", "GenerateMeshNormals", "LinearTransformation", "NormalizeRotation", "NormalizeScale")
MESH = ("GenerateMeshNormals", "SamplePoints")
LINEAR = ("RandomFlip", "RandomRotate", "RandomScale", "RandomShear")  # these leave normals as they were
DRAWN = ("RandomJitter", *LINEAR)
USABLE = tuple(sorted({*PLAIN, *MESH, *DRAWN}))
COMPILED = ("GridSampling", "KNNGraph", "RadiusGraph")
PARTS = {"pos": XYZ, "normal": NORMAL, "color": COLOUR}


@dataclass(frozen=True)
class Transforms:
    """Named transforms, built and tried. plain: for every cloud. drawn: for training views."""

    plain: Sequence[tuple[str, Any]] = ()
    drawn: Sequence[tuple[str, Any]] = ()
    makes: frozenset[str] = field(default_factory=frozenset)
    """Columns that the plain ones add, as normals of a mesh."""

    def read(self, cloud: Cloud) -> Cloud:
        """A cloud after the plain ones; raise `SignalError` for one that they cannot work on."""
        if cloud.faces is not None and not any(name in MESH for name, _ in self.plain):
            raise SignalError(
                "point cloud: is a mesh with faces, of which a network would read the bare vertices: set the encoder's "
                "transforms to [{name: SamplePoints, num: 2048}]."
            )
        if not self.plain:
            return cloud
        data = _data({name: cloud.part(columns) for name, columns in PARTS.items()}, cloud.faces)
        for name, transform in self.plain:
            if name in MESH and data.face is None:
                raise SignalError(f"point cloud: {name} needs a mesh, and this cloud has no faces: leave it out.")
            with seeded(0):
                data = transform(data)
            if not bool(data.pos.isfinite().all()):
                raise SignalError(f"point cloud: {name} makes NaN of it: are its points all in one place?")
        found = {name: data[name].numpy() for name in PARTS if data.get(name) is not None}
        names = tuple(column for name in found for column in PARTS[name])
        values = np.concatenate([part.astype(np.float64) for part in found.values()], 1)
        return Cloud(values, names, cloud.whole, None if data.face is None else data.face.T.numpy())

    def view(self, value: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
        """A preprocessed cloud (N, C) after the drawn ones."""
        if not self.drawn:
            return value
        positions, rest = value[:, :3], value[:, 3:].clone()
        at = names.index("nx") - 3 if "nx" in names else None
        for name, transform in self.drawn:
            probes = torch.cat([torch.zeros(1, 3), torch.eye(3)]) if name in LINEAR else positions[:0]
            with seeded(int(torch.randint(2**31, (), generator=generator))):
                moved = transform(_data({"pos": torch.cat([positions, probes])})).pos
            positions, tips = moved[: len(value)], moved[len(value) :]
            if at is not None and name in LINEAR:
                matrix = (tips[1:] - tips[:1]).double()  # rows: where x, y and z go
                normals = rest[:, at : at + 3].double() @ torch.linalg.pinv(matrix).T
                rest[:, at : at + 3] = torch.nn.functional.normalize(normals, dim=1).float()
        return torch.cat([positions, rest], 1)


def build_transforms(told: Sequence[Mapping[str, Any]]) -> Transforms:
    """From a list such as [{"name": "RandomJitter", "translate": 0.01}]; raise `ConfigError` for what cannot run."""
    if isinstance(told, (str, Mapping)) or not all(isinstance(one, Mapping) and "name" in one for one in told):
        raise ConfigError(f"transforms={told!r}: give a list such as [{{name: RandomJitter, translate: 0.01}}].")
    built = [(str(one["name"]), _build(**one)) for one in told]
    plain = [(name, made) for name, made in built if name not in DRAWN]
    makes = {"GenerateMeshNormals"} & {name for name, _ in plain} or any(
        getattr(made, "include_normals", False) for _, made in plain
    )
    drawn = [(name, made) for name, made in built if name in DRAWN]
    return Transforms(plain, drawn, frozenset(NORMAL if makes else ()))


def _build(name: str, **options: Any) -> Any:
    import torch_geometric.transforms as known

    if name in COMPILED:
        raise ConfigError(
            f"transforms: {name} needs torch-cluster, which has no wheels for this torch: use another of torch-"
            f"geometric's, {', '.join(USABLE)}."
        )
    if name not in USABLE:
        other = f" {name} is made for graphs, not clouds." if name in known.__all__ else ""
        raise ConfigError(f"transforms: {name!r} is not usable.{other}{did_you_mean(name, USABLE)}")
    cls = getattr(known, name)
    accepted = {p.name: p for p in inspect.signature(cls.__init__).parameters.values() if p.name != "self"}
    accepted = {n: p for n, p in accepted.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    for option in options:
        if option not in accepted:
            raise ConfigError(f"transforms: {name} has no argument {option!r}.{did_you_mean(option, accepted)}")
    for option, parameter in accepted.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"transforms: {name} needs {option}: give its value.")
    try:
        made = cls(**options)
        with seeded(0):
            _try(made)
    except Exception as error:  # of wrong values, assertions among them
        raise ConfigError(f"transforms: {name} with {options}: {error or type(error).__name__}.") from error
    return made


def _try(transform: Any) -> None:
    corners = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    faces = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]])
    moved = transform(_data({"pos": corners, "normal": torch.ones(4, 3) / 3**0.5}, faces.T.numpy()))
    if moved.pos.ndim != 2 or moved.pos.shape[1] != 3:
        raise ValueError(f"makes positions of shape {tuple(moved.pos.shape)}")


def _data(parts: Mapping[str, Any], faces: np.ndarray | None = None) -> Any:
    from torch_geometric.data import Data

    made = {name: torch.as_tensor(part) for name, part in parts.items() if part is not None}
    return Data(**made, face=None if faces is None else torch.as_tensor(faces.T).long())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with the global generators of torch, numpy and Python at a seed, and put them back."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
