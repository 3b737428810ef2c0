"""Data sets of torch-geometric are packed as they are: clouds, meshes by their surface, names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import FakeDataset, GeometricShapes

from pairalign.core.errors import DataError
from pairalign.data.geometric import GeometricSamples
from pairalign.data.index import load_index
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples

TETRAHEDRON = (
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]]),
)


class Held(InMemoryDataset):
    """Samples that a test holds."""

    def __init__(self, samples: list[Data], categories: list[str] | None = None) -> None:
        super().__init__()
        self.data, self.slices = self.collate(samples)
        if categories:
            self.categories = categories


def clouds(count: int = 6, **more: Any) -> list[Data]:
    draw = torch.Generator().manual_seed(0)
    return [
        Data(
            pos=torch.randn(20 + i, 3, generator=draw),
            y=torch.tensor([i % 2]),
            **{k: v(20 + i) for k, v in more.items()},
        )
        for i in range(count)
    ]


def test_clouds_labels_and_names(tmp_path: Path) -> None:
    samples = clouds()
    index = pack_pairs(Held(samples, ["night_stand", "bed"]), tmp_path / "out", shard_samples=4, progress=False)
    assert index.modalities["points"].axes == ("point", "xyz")
    assert set(index.labels) == {"night stand", "bed"}
    found = {sample.key: sample for sample in read_samples(tmp_path / "out", "train", ["points", "text"])}
    assert sorted(found) == [f"{i:08d}" for i in range(6)]
    assert list(found) != sorted(found)  # shuffled, as a manifest is
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(found[f"{i:08d}"].values["points"], sample.pos.numpy())
        assert found[f"{i:08d}"].values["text"] == ("night stand", "bed")[i % 2]


def test_without_names_the_number_is_the_label(tmp_path: Path) -> None:
    index = pack_pairs(Held(clouds()), tmp_path / "out", progress=False, units={"points": {"unit": "m", "up": "+z"}})
    assert index.labels == ("0", "1")
    info = index.modalities["points"]
    assert (info.unit, info.up, info.axes) == ("m", "+z", ("point", "xyz"))
    named = GeometricSamples(Held(clouds()), names=["a", "b"])
    assert {sample["text"] for sample in named} == {"a", "b"}
    with pytest.raises(DataError, match=r"is of class 1, and 1 names are listed"):
        list(GeometricSamples(Held(clouds()), names=["a"]))


def test_meshes_are_sampled_alike_each_time_and_by_several_workers(tmp_path: Path) -> None:
    pos, face = TETRAHEDRON
    meshes = Held([Data(pos=pos * (i + 1), face=face, y=i % 2) for i in range(5)])
    for name, workers in (("one", 1), ("two", 2)):
        pack_pairs(meshes, tmp_path / name, shard_samples=2, workers=workers, progress=False)
    assert load_index(tmp_path / "one").content_hash == load_index(tmp_path / "two").content_hash
    for sample in read_samples(tmp_path / "one", "train", ["points"]):
        points, size = sample.values["points"], int(sample.key) + 1
        assert points.shape == (2048, 3)
        outside = (points < -1e-5).any(1) | (points.sum(1) > size * (1 + 1e-5))
        on_a_face = np.minimum(np.abs(points).min(1), np.abs(points.sum(1) - size)) < 1e-5 * size
        assert not outside.any()
        assert on_a_face.all()


def test_a_mesh_without_area_is_a_bad_sample(tmp_path: Path) -> None:
    pos, face = TETRAHEDRON
    flat = Held([Data(pos=pos, face=face), Data(pos=pos * 0, face=face), Data(pos=pos + 1, face=face)])
    with pytest.raises(DataError, match=r"sample '00000001': points: the mesh has no area"):
        pack_pairs(flat, tmp_path / "out", progress=False)
    index = pack_pairs(flat, tmp_path / "out", on_bad="skip", progress=False)
    assert index.splits["train"].count == 2
    assert index.skipped[0][0] == "00000001"


def test_features_are_packed_only_where_they_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = torch.nn.functional.normalize(torch.randn(30, 3), dim=1)
    held = Held(clouds(x=lambda n: unit[:n]))
    assert pack_pairs(held, tmp_path / "plain", progress=False).modalities["points"].axes == ("point", "xyz")
    assert "x of shape (20, 3) is left out" in capsys.readouterr().err
    index = pack_pairs(GeometricSamples(held, x="normal"), tmp_path / "x", progress=False)
    assert index.modalities["points"].axes == ("point", "xyznormal")
    for sample in read_samples(tmp_path / "x", "train", ["points"]):
        np.testing.assert_array_equal(sample.values["points"][:, 3:], unit[: len(sample.values["points"])])
    with pytest.raises(DataError, match="x='colour'"):
        GeometricSamples(held, x="colour")


def test_their_own_data_sets(tmp_path: Path) -> None:
    fake = FakeDataset(num_graphs=4, task="graph", num_channels=0, pos=(40, 3))
    index = pack_pairs(fake, tmp_path / "fake", progress=False)
    assert index.splits["train"].count == 4
    assert index.modalities["points"].shape == (40, 3)
    with pytest.raises(DataError, match=r"FakeDataset.*has no pos"):
        pack_pairs(FakeDataset(num_graphs=2, num_channels=0), tmp_path / "no", progress=False)

    for name in ("2d_circle", "3d_box"):
        for part in ("train", "test"):
            (tmp_path / "shapes" / "raw" / name / part).mkdir(parents=True)
            corners = "0 0 0\n1 0 0\n0 1 0\n0 0 1\n"
            text = f"OFF\n4 4 0\n{corners}3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"
            (tmp_path / "shapes" / "raw" / name / part / f"{name}.off").write_text(text)
    shapes = GeometricShapes(str(tmp_path / "shapes"))
    index = pack_pairs(shapes, tmp_path / "packed", split="train", progress=False)
    assert index.splits["train"].count == 2
    assert index.modalities["points"].shape == (2048, 3)
