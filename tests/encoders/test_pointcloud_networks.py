"""The two networks against torch-geometric's own message passing, with the same weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pairalign.core.registry import create_encoder


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The file that measures both, which makes one from the other."""
    path = Path(__file__).parents[2] / "bench" / "point_networks.py"
    spec = importlib.util.spec_from_file_location("point_networks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pointnet2", {"groups": [16, 4], "neighbours": [6, 4], "channels": 8}),
        (
            "pointnet2",
            {"groups": [16, 4], "neighbours": [6, 4], "channels": 8, "columns": "xyzrgbnormal", "scale": 3.0},
        ),
        ("dgcnn", {"channels": [8, 12], "neighbours": 6}),
        ("dgcnn", {"channels": [8, 12], "neighbours": 6, "dynamic": True, "normals": True}),
    ],
)
def test_outputs_are_those_of_pointnetconv_and_edgeconv(bench: ModuleType, name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    ours = create_encoder(name, points=64, width=16, **options)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # centre and point no longer share their weights
    theirs = bench.by_messages(ours)
    clouds = torch.randn(3, 64, len(ours.names))
    for mode in (True, False):
        one, other = ours.train(mode)(clouds), theirs.train(mode)(clouds)
        torch.testing.assert_close(one.pooled, other.pooled, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.tokens, other.tokens, atol=1e-5, rtol=1e-4)
