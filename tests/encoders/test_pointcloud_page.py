"""Every row of the table in docs/clouds.md is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pairalign.core.errors import SignalError
from pairalign.core.registry import create_encoder

PAGE = Path(__file__).parents[2] / "docs" / "clouds.md"
RNG = np.random.default_rng(0)
CLOUD = RNG.standard_normal((200, 3))
NAMED = np.zeros(200, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")])
NAMED["x"], NAMED["y"], NAMED["z"] = CLOUD.T
HOLED = CLOUD.copy()
HOLED[3, 1] = np.nan
MESH = Data(pos=torch.from_numpy(CLOUD), face=torch.tensor([[0], [1], [2]]))


def read(raw: Any, **options: Any) -> torch.Tensor:
    return create_encoder("pointnet2", points=64, **options).preprocess(raw)


def beside(*columns: Any) -> np.ndarray:
    return np.concatenate([CLOUD, np.broadcast_to(np.array(columns, float), (200, 3))], 1)


def distinct(value: torch.Tensor) -> int:
    return len(value.unique(dim=0))


def refused(told: str, raw: Any, **options: Any) -> bool:
    with pytest.raises(SignalError, match=told):
        read(raw, **options)
    return True


ROWS: dict[str, Callable[[], bool]] = {
    "array (N, 3) or more columns": lambda: read(np.c_[CLOUD, CLOUD]).equal(read(CLOUD)),
    "array (3, N)": lambda: read(CLOUD.T).equal(read(CLOUD)),
    "array (3, 3), (3, 7), (7, 3)": lambda: all(refused("either axis", CLOUD[:n].T) for n in (3, 7)),
    "… with `axes` recorded or given": lambda: distinct(read(CLOUD[:3], axes=["point", "xyz"])) == 3,
    "structured array with x, y, z (ROS)": lambda: read(NAMED).equal(read(CLOUD.astype("f4"))),
    "torch-geometric `Data` with `pos`": lambda: read(Data(pos=torch.from_numpy(CLOUD))).equal(read(CLOUD)),
    "mesh (`face`)": lambda: refused("SamplePoints", MESH),
    "a point with NaN or infinity": lambda: refused("1 of 200 points hold NaN", HOLED),
    "… with `nonfinite: drop`": lambda: read(HOLED, nonfinite="drop").equal(read(np.delete(HOLED, 3, 0))),
    "fewer points than `points`": lambda: read(CLOUD[:10])[:10].equal(read(CLOUD[:10])[10:20]),
    "the same point twice": lambda: distinct(read(np.r_[CLOUD[:1].repeat(500, 0), CLOUD[:63]])) == 63,
    "all points in one place": lambda: bool((read(np.full((20, 3), 0.1), normalize="unit_ball") == 0).all()),
    "float64 at map coordinates": lambda: bool(read(CLOUD + [4e6, 5e5, 100]).mean(0).abs().max() < 1),  # noqa: RUF005
    "normals that are not of length 1": lambda: refused(r"of length 3\.74", beside(1, 2, 3), normals=True),
    "colours 0 to 255, whole numbers": lambda: bool((read(beside(51, 51, 51), columns="xyzrgb")[:, 3:] == 0.2).all()),
    "colours 0 to 1": lambda: bool((read(beside(0.5, 0.5, 0.5), columns="xyzrgb")[:, 3:] == 0.5).all()),
    "a colour of 1.5, -1 or 65535": lambda: all(
        refused(f"a colour of {c:g}", beside(0.5, 0.5, c), columns="xyzrgb") for c in (1.5, -1, 65535)
    ),
}


def test_the_page_lists_these() -> None:
    assert re.findall(r"^\| (.+?) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.M)[1:] == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_so(row: str) -> None:
    assert ROWS[row]()
