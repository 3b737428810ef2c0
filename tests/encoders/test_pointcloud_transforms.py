"""torch-geometric's transforms by name: random ones follow the sample and stay in training, wrong ones are told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pairalign.align.model import build_aligner
from pairalign.align.plan import plan_run
from pairalign.align.run import build_datasets
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder
from pairalign.data.pack import pack_pairs

SMALL: dict[str, Any] = {"points": 64, "width": 16, "channels": 8, "groups": [16, 4], "neighbours": [6, 4]}
CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]])


def net(*transforms: dict[str, Any], **options: Any) -> Encoder:
    return create_encoder("pointnet2", **{**SMALL, "jitter": 0.0, "transforms": list(transforms), **options})


def cloud(seed: int = 0, size: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, 3)).astype(np.float32)


def view(encoder: Encoder, value: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return encoder.augment(value, torch.Generator().manual_seed(seed))


def test_random_ones_make_views_and_leave_the_plain_sample() -> None:
    encoder = net({"name": "RandomJitter", "translate": 0.02})
    value = encoder.preprocess(cloud())
    assert value.equal(net().preprocess(cloud()))
    gap = (view(encoder, value) - value).abs()
    assert 0.015 < float(gap.max()) <= 0.02 + 1e-6
    assert not view(encoder, value, 1).equal(view(encoder, value))


def test_views_follow_their_generator_and_touch_no_other() -> None:
    names = ({"name": "RandomJitter", "translate": 0.02}, {"name": "RandomRotate", "degrees": 30, "axis": 2})
    encoder = net(*names, {"name": "RandomFlip", "axis": 0}, {"name": "FixedPoints", "num": 90})
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        made.append(view(encoder, encoder.preprocess(cloud())))
        after = float(torch.rand(())), float(np.random.rand()), random.random()
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        assert after == (float(torch.rand(())), float(np.random.rand()), random.random())
    assert made[0].equal(made[1])


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "RandomFlip", "axis": 1, "p": 1.0},
        {"name": "RandomRotate", "degrees": 80, "axis": 1},
        {"name": "RandomShear", "shear": 0.4},
        {"name": "RandomScale", "scales": [0.5, 0.7]},
    ],
)
def test_normals_stay_square_to_the_surface(transform: dict[str, Any]) -> None:
    """On a plane, spanned by two vectors that move as the points do."""
    normal = np.array([0.6, 0.0, 0.8])
    spans = np.array([[0.8, 0.0, -0.6], [0.0, 1.0, 0.0]])
    places = np.random.default_rng(0).standard_normal((100, 2)) @ spans
    raw = np.concatenate([places, np.broadcast_to(normal, places.shape)], 1)
    encoder = net(transform, normals=True)
    value = encoder.preprocess(raw)
    moved = view(encoder, value)
    assert float((moved - value).abs().max()) > 0.05
    offsets = moved[:, :3] - moved[0, :3]
    assert float((offsets * moved[:, 3:]).sum(1).abs().max()) < 1e-5
    torch.testing.assert_close(moved[:, 3:].norm(dim=1), torch.ones(64))


def test_lasting_ones_change_every_cloud() -> None:
    wanted = cloud() - cloud().mean(0)
    found = net({"name": "Center"}).preprocess(cloud() + 7)
    torch.testing.assert_close(found, net().preprocess(wanted), atol=1e-5, rtol=0)
    assert float(net({"name": "NormalizeScale"}).preprocess(cloud()).abs().max()) == pytest.approx(0.999999, abs=1e-5)
    with pytest.raises(SignalError, match="NormalizeScale makes NaN of it: are its points all in one place"):
        net({"name": "NormalizeScale"}).preprocess(np.ones((20, 3)))


def test_meshes_are_sampled_alike_each_time() -> None:
    mesh = Data(pos=CORNERS, face=FACES)
    encoder = net({"name": "SamplePoints", "num": 500, "include_normals": True}, normals=True)
    value = encoder.preprocess(mesh)
    assert value.equal(encoder.preprocess({"vertices": CORNERS, "faces": FACES.T}))
    points, normals = value[:, :3], value[:, 3:]
    assert len(points.unique(dim=0)) == 64
    assert bool(torch.minimum(points.abs().amin(1), (points.sum(1) - 1).abs()).lt(1e-5).all())
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(64))
    assert encoder.check_data({"axes": ("point", "xyz")}, "edge a-b") == []  # the mesh gives the normals
    with pytest.raises(SignalError, match=r"is a mesh with faces.*SamplePoints"):
        net().preprocess(mesh)
    with pytest.raises(SignalError, match="SamplePoints needs a mesh"):
        encoder.preprocess(np.concatenate([cloud(), cloud()], 1))
    with pytest.raises(SignalError, match="faces name vertices up to 4, there are 4"):
        encoder.preprocess({"vertices": CORNERS, "faces": FACES.T + 1})


@pytest.mark.parametrize(
    ("transforms", "told"),
    [
        ([{"name": "RandomJiter", "translate": 1}], r"'RandomJiter' is not usable. Did you mean 'RandomJitter'"),
        ([{"name": "RandomJitter", "translat": 1}], r"no argument 'translat'. Did you mean 'translate'"),
        ([{"name": "RandomJitter"}], "RandomJitter needs translate"),
        ([{"name": "RandomJitter", "translate": "far"}], "RandomJitter with {'translate': 'far'}"),
        ([{"name": "RandomScale", "scales": 3}], "RandomScale with {'scales': 3}"),
        ([{"name": "LinearTransformation", "matrix": [[1.0, 0.0]]}], "should be square"),
        ([{"name": "KNNGraph", "k": 6}], "KNNGraph needs torch-cluster"),
        ([{"name": "GridSampling", "size": 0.1}], "GridSampling needs torch-cluster"),
        ([{"name": "GCNNorm"}], "GCNNorm is made for graphs"),
        (["Center"], "give a list such as"),
        ({"name": "Center"}, "give a list such as"),
    ],
)
def test_wrong_names_and_arguments_are_told_before_anything_runs(transforms: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        create_encoder("pointnet2", **SMALL, transforms=transforms)


def config(root: Path, *transforms: dict[str, Any], workers: int = 0) -> AlignConfig:
    rows = [{"key": f"k{i}", "a": np.arange(6, dtype=np.float32) + i, "p": cloud(i, 80)} for i in range(12)]
    if not (root / "pairs").exists():
        pack_pairs(rows, root / "pairs", progress=False, units={"p": {"axes": ("point", "xyz")}})
    return load_config(
        AlignConfig,
        {
            "modalities": {
                "a": {"encoder": "tiny_vector"},
                "p": {"encoder": "pointnet2", "options": {**SMALL, "transforms": list(transforms)}},
            },
            "edges": [{"between": ["a", "p"], "shards": "pairs"}],
            "out": str(root / "run"),
            "train": {"steps": 2, "batch_size": 4, "accelerator": "cpu"},
            "data": {"root": str(root), "val_split": None, "workers": workers},
        },
    )


def test_plan_checks_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'RandomFlip'"):
        plan_run(config(tmp_path, {"name": "RandomFlp", "axis": 0}), progress=False)
    assert plan_run(config(tmp_path, {"name": "RandomFlip", "axis": 0}), progress=False).samples == {"a-p": 12}


def test_views_are_the_same_whoever_makes_them(tmp_path: Path) -> None:
    from pairalign.align.trainer import loader

    views = []
    for workers in (0, 2):
        asked = config(tmp_path, {"name": "RandomRotate", "degrees": 90, "axis": 1}, workers=workers)
        dataset = build_datasets(asked, build_aligner(asked), progress=False)["train"]["a-p"]
        found: dict[str, torch.Tensor] = {}
        for batch in loader(dataset, asked):
            for key, value in zip(batch.keys, batch.b.value, strict=True):
                found.setdefault(key, value)
            if len(found) == 12:
                break
        views.append(found)
    assert [key for key in views[0] if not views[0][key].equal(views[1][key])] == []
