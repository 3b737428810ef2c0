"""Archives and meshes as the arrays that they become."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.decode import read_signal
from pairalign.data.pack import pack_pairs
from pairalign.data.sources import MESH_POINTS, read_member, read_source

trimesh = pytest.importorskip("trimesh")


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def test_an_archive_gives_its_only_array_or_the_one_that_is_named(tmp_path: Path) -> None:
    one, two = np.arange(6.0).reshape(2, 3), np.arange(4, dtype=">i2")
    np.testing.assert_array_equal(read_source(npz(a=one), "npz"), one)
    (tmp_path / "x.npz").write_bytes(npz(a=one, b=two))
    np.testing.assert_array_equal(read_member(tmp_path / "x.npz", "b"), two)
    np.testing.assert_array_equal(read_signal(f"{tmp_path / 'x.npz'}::a"), one)
    for wanted, words in ((None, "which of its arrays"), ("c", "it has no 'c'")):
        with pytest.raises(DataError, match=rf"{words}\? It holds a, b: name one as file\.npz::NAME"):
            read_source(npz(a=one, b=two), "npz", wanted)


def test_what_an_archive_holds_is_checked_like_any_array() -> None:
    with pytest.raises(DataError, match="an array of words"):
        read_source(npz(a=np.array(["x"])), "npz")
    with pytest.raises(DataError, match="NaN or infinity"):
        read_source(npz(a=np.array([np.nan, 1])), "npz")
    whole = npz(a=np.arange(100.0))
    for data in (b"", whole[:50], whole[:-40], b"x" * 100, whole[:80] + b"\xff" * 20 + whole[100:]):
        with pytest.raises(DataError, match=r"npz|which"):
            read_source(data, "npz")


def exported(shape: Any, kind: str, **options: Any) -> bytes:
    data = shape.export(file_type=kind, **options)
    return data.encode() if isinstance(data, str) else data


@pytest.mark.parametrize("kind", ["ply", "stl", "obj", "glb", "off"])
def test_a_mesh_becomes_points_evenly_over_its_surface(kind: str) -> None:
    box = trimesh.creation.box(extents=(1, 2, 4))
    points = read_source(exported(box, kind), kind)
    assert (points.shape, points.dtype) == ((MESH_POINTS, 3), np.float32)
    half = np.array([0.5, 1, 2])
    at_a_wall = np.isclose(np.abs(points), half, atol=1e-5)
    assert at_a_wall.any(1).all()
    assert (np.abs(points) <= half + 1e-5).all()
    np.testing.assert_allclose(at_a_wall.mean(0), np.array([8, 4, 2]) / 14, atol=0.04)  # by area
    np.testing.assert_array_equal(read_source(exported(box, kind), kind), points)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_a_cloud_gives_its_points_and_colours(encoding: str) -> None:
    rng = np.random.default_rng(0)
    points, colours = rng.standard_normal((20, 3)).astype(np.float32), rng.integers(0, 255, (20, 3), dtype=np.uint8)
    found = read_source(exported(trimesh.PointCloud(points, colours), "ply", encoding=encoding), "ply")
    np.testing.assert_allclose(found, np.concatenate([points, colours], 1), atol=1e-5)


PLY = """ply
format ascii 1.0
element vertex 2
{}
end_header
"""


def test_the_columns_of_a_cloud_have_names_that_are_known() -> None:
    names = ("nx", "ny", "nz", "x", "y", "z", "intensity")
    head = PLY.format("\n".join(f"property float {name}" for name in names))
    found = read_source(f"{head}0 0 1 5 6 7 9\n0 1 0 1 2 3 4\n".encode(), "ply")
    np.testing.assert_array_equal(found, [[5, 6, 7, 0, 0, 1, 9], [1, 2, 3, 0, 1, 0, 4]])
    head = PLY.format("\n".join(f"property float {name}" for name in ("x", "y", "z", "opacity")))
    with pytest.raises(DataError, match="opacity has none"):
        read_source(f"{head}0 0 1 5\n0 1 0 1\n".encode(), "ply")


def test_a_scene_of_several_bodies_is_joined() -> None:
    scene = trimesh.Scene(
        [trimesh.creation.box(), trimesh.creation.box(transform=trimesh.transformations.translation_matrix([9, 0, 0]))]
    )
    points = read_source(exported(scene, "glb"), "glb")
    assert 0.45 < (points[:, 0] > 4).mean() < 0.55


@pytest.mark.parametrize("kind", ["ply", "stl", "obj", "glb", "off"])
def test_bytes_that_are_no_mesh_are_named(kind: str) -> None:
    for data in (b"", b"junk", exported(trimesh.creation.box(), kind)[:40], b"\0" * 300):
        with pytest.raises(DataError, match=r"no valid|OFF|no area|no faces"):
            read_source(data, kind)


def test_an_obj_does_not_open_what_it_names(tmp_path: Path) -> None:
    text = b"mtllib /etc/passwd\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    assert read_source(text, "obj").shape == (MESH_POINTS, 3)


def test_meshes_and_archives_are_packed_as_arrays(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_bytes(exported(trimesh.creation.icosphere(), "stl"))
    (tmp_path / "a.npz").write_bytes(npz(force=np.arange(5.0)))
    rows = [{"points": tmp_path / "a.stl", "force": tmp_path / "a.npz"}]
    index = pack_pairs(rows, tmp_path / "out", progress=False)
    assert {name: (info.ext, info.shape) for name, info in index.modalities.items()} == {
        "points": (("npy",), (MESH_POINTS, 3)),
        "force": (("npy",), (5,)),
    }
