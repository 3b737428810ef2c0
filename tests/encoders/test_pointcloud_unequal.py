"""Clouds of unequal size in one batch: nothing is padded, and each is what it is alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from pairalign.align.latents import LatentHead
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.registry import create_encoder
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.pool import encode_pool
from pairalign.sensors.bridges.bridge import Bridge
from pairalign.sensors.model import _count
from pairalign.sensors.processor import to_device
from pairalign.sensors.sensor import Sensor
from pairalign_pointcloud.sampling import farthest_points
from pairalign_pointcloud.unequal import first_rows, lead_order, spread_rows

POINTNET = {"width": 16, "channels": 8, "groups": [16, 4], "neighbours": [6, 4]}
DGCNN = {"width": 16, "channels": [8, 8], "neighbours": 6}
NETWORKS = [
    ("pointnet2", {**POINTNET, "columns": "xyzrgb"}),
    ("dgcnn", DGCNN),
    ("dgcnn", {**DGCNN, "dynamic": True}),
]
SIZES = (40, 3, 300, 1, 17)


def cloud(size: int, columns: int = 3) -> np.ndarray:
    raw = np.random.default_rng(size).standard_normal((size, columns)).astype(np.float32)
    raw[:, 3:] = np.abs(raw[:, 3:]) / 9
    return raw


def net(name: str, options: dict[str, Any], points: int | None = None) -> Encoder:
    torch.manual_seed(0)
    encoder = create_encoder(name, points=points, axes=["point", "xyz"], jitter=0.0, **options)
    encoder.train()
    with torch.no_grad():  # running statistics of their own
        encoder(encoder.collate([encoder.preprocess(cloud(90 + (i if points is None else 0), 6)) for i in range(4)]))
    return encoder.eval()


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_each_cloud_is_what_it_is_alone(name: str, options: dict[str, Any]) -> None:
    encoder = net(name, options)
    values = [encoder.preprocess(cloud(size, 6)) for size in SIZES]
    assert [len(value) for value in values] == list(SIZES)
    batch = encoder.collate(values)
    assert isinstance(batch, Batch)
    with torch.no_grad():
        together = encoder(batch)
        for i, value in enumerate(values):
            alone = encoder(encoder.collate([value]))
            torch.testing.assert_close(together.pooled[i], alone.pooled[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(together.tokens[i], alone.tokens[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_clouds_of_one_size_are_those_of_a_plain_batch(name: str, options: dict[str, Any]) -> None:
    free, fixed = net(name, options), net(name, options, points=60)
    fixed.load_state_dict(free.state_dict())
    values = [fixed.preprocess(cloud(60, 6) + i / 50) for i in range(3)]
    with torch.no_grad():
        one, other = free(free.collate(values)), fixed(fixed.collate(values))
    torch.testing.assert_close(one.pooled, other.pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_no_row_is_made_up(name: str, options: dict[str, Any]) -> None:
    encoder = net(name, options)
    layer: Any = encoder.first.point if name == "pointnet2" else encoder.levels[0].there
    seen: list[int] = []
    layer.register_forward_hook(lambda module, args, out: seen.append(args[0].shape[:-1].numel()))
    batch = encoder.collate([encoder.preprocess(cloud(size, 6)) for size in SIZES])
    encoder(batch)
    assert seen == [sum(SIZES)]


def test_rows_come_in_farthest_point_order_as_far_as_asked_and_all_of_them_once() -> None:
    positions = torch.randn(50, 3)
    positions[10:20] = positions[3]
    order = lead_order(positions, 12, start=3)
    assert order[:12].equal(farthest_points(positions, 12, 3))
    assert sorted(order.tolist()) == list(range(50))
    assert sorted(lead_order(positions[:15], 99, 0).tolist()) == list(range(15))  # 10 distinct ones among them
    assert lead_order(torch.zeros(4, 3), 3, 0).tolist() == [0, 1, 2, 3]
    ptr = torch.tensor([0, 2, 7])
    assert first_rows(ptr, 4).tolist() == [[0, 1, 0, 1], [2, 3, 4, 5]]
    assert spread_rows(ptr, 4).tolist() == [[0, 0, 1, 1], [2, 3, 4, 5]]


def test_a_run_trains_plans_and_is_measured_on_them(tmp_path: Path) -> None:
    rows = [
        {"key": f"k{i}", "a": np.arange(6, dtype=np.float32) + i, "p": cloud(20 + 7 * i), "split": split}
        for split in ("train", "test")
        for i in range(8)
    ]
    rows = [row | {"key": f"{row['split']}{row['key']}"} for row in rows]
    index = pack_pairs(rows, tmp_path / "pairs", progress=False)
    assert index.modalities["p"].shape == (None, 3)
    config = load_config(
        AlignConfig,
        {
            "modalities": {
                "a": {"encoder": "tiny_vector"},
                "p": {"encoder": "pointnet2", "options": {**POINTNET, "points": None}},
            },
            "edges": [{"between": ["a", "p"], "shards": "pairs"}],
            "out": str(tmp_path / "run"),
            "latent": {"shared": 8, "private": 4, "hidden": 16},
            "train": {"steps": 3, "batch_size": 4, "accelerator": "cpu"},
            "data": {"root": str(tmp_path), "val_split": "test", "workers": 2},
        },
    )
    assert plan_run(config, progress=False).losses["a-p"] > 0
    run = align_pairs(config, progress=False)
    pool = encode_pool(run, tmp_path / "pairs", progress=False)
    assert pool.bad == []
    assert pool.latents["p"].shared.isfinite().all()


def test_stage_two_counts_and_moves_them() -> None:
    encoder = net("pointnet2", POINTNET)
    sensor = Sensor(encoder, LatentHead(16, 8, 4, 16), Bridge((16, 8, 4), 12, "mlp", 2, 1.0)).eval()
    values = [encoder.preprocess(cloud(size)) for size in SIZES]
    batch = encoder.collate(values)
    assert _count(batch) == len(SIZES)
    moved = to_device({"signals": {"points": encoder.collate(values)}}, torch.device("meta"))
    assert moved["signals"]["points"].pos.is_meta
    assert sensor(batch).shape[0] == len(SIZES)
    assert sensor(batch).equal(sensor(values))
