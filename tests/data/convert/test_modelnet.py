"""ModelNet40 in both forms, OFF meshes read and sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miniature import convert, read_back

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert.mesh import centred, read_off, sample_surface
from pairalign.data.index import load_index

SQUARE = "OFF\n5 2 0\n0 0 0\n3 0 0\n3 1 0\n0 1 0\n9 9 9\n3 0 1 2\n3 0 2 3\n"
MODELS = {"train": ["chair_0001", "night_stand_0001", "night_stand_0002"], "test": ["chair_0002"]}


def resampled(home: Path) -> Path:
    rng = np.random.default_rng(0)
    home.mkdir()
    (home / "modelnet40_shape_names.txt").write_text("chair\nnight_stand\n")
    for split, models in MODELS.items():
        (home / f"modelnet40_{split}.txt").write_text("\n".join(models) + "\n")
        for model in models:
            path = home / model.rpartition("_")[0] / f"{model}.txt"
            path.parent.mkdir(exist_ok=True)
            np.savetxt(path, rng.normal(size=(12, 6)), delimiter=",", fmt="%.6f")
    return home


def test_the_resampled_form(tmp_path: Path) -> None:
    home = resampled(tmp_path / "modelnet40_normal_resampled")
    (home / "modelnet40_test.txt").write_text("chair_0002\nsofa_0001\nchair_0003\n")
    done = convert("modelnet40", home, tmp_path / "out", options={"points": 8, "normals": True})
    found = read_back(tmp_path / "out")
    assert done.report["reasons"] == {"unknown class": 1, "missing points file": 1}
    assert found["night_stand_0002"].values["text"] == "night stand"
    raw = np.loadtxt(home / "chair" / "chair_0001.txt", delimiter=",")[:8]
    place = raw[:, :3] - raw[:, :3].mean(0)
    place /= max(np.linalg.norm(row) for row in place)
    stored = found["chair_0001"].values["points"]
    np.testing.assert_allclose(stored, np.concatenate([place, raw[:, 3:]], 1), atol=1e-5)
    index = load_index(tmp_path / "out")
    assert index.modalities["points"].up == "+y"
    assert index.modalities["points"].axes == ("point", "xyznormal")
    assert index.splits["test"].count == 1


def test_the_mesh_form_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, number in (("train", 1), ("train", 2), ("test", 3), ("test", 4)):
        path = tmp_path / "ModelNet40" / "tv_stand" / split / f"tv_stand_{number:04d}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SQUARE if number < 4 else SQUARE.replace("3 0 2 3", "3 0 2 7"))
    command = ["data", "convert", "modelnet40", str(tmp_path / "ModelNet40"), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "points=64"]) == 0
    assert "3 samples converted" in capsys.readouterr().out
    index = load_index(tmp_path / "out")
    assert index.modalities["points"].up == "+z"
    assert index.modalities["points"].shape == (64, 3)
    [(key, reason)] = index.skipped
    assert key == "tv_stand_0004"
    assert "vertices that do not exist" in reason


@pytest.mark.parametrize(
    "text",
    [
        SQUARE,
        SQUARE.replace("OFF\n5", "OFF5"),
        SQUARE.replace("3 0 1 2\n3 0 2 3", "4 0 1 2 3").replace("5 2 0", "5 1 0"),
    ],
)
def test_meshes_as_they_occur_are_read_alike(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.off").write_text(text)
    vertices, triangles = read_off(tmp_path / "m.off")
    assert vertices.shape == (5, 3)
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PLY\n",
        "OFF\n5 2",
        SQUARE.replace("3 0 2 3", "3 0 2"),
        SQUARE.replace("9 9 9", "9 nan 9"),
        "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n",
    ],
)
def test_damaged_meshes_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.off").write_text(text)
    with pytest.raises(DataError, match=r"m\.off"):
        read_off(tmp_path / "m.off")


def test_points_lie_on_the_surface_in_proportion_to_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5]], float)
    points = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20_000, seed=1)
    large = points[:, 2] == 5  # nine times the area
    assert np.isin(points[:, 2], [0, 5]).all()
    assert abs(large.mean() - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 20_000)
    place = points[large][:, :2] / 3
    assert (place >= 0).all()
    assert (place.sum(1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(place.mean(0), 1 / 3, atol=0.01)  # the centroid of a triangle
    np.testing.assert_array_equal(points, sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20_000, seed=1))


@pytest.mark.parametrize("points", [np.zeros((4, 3)), np.full((4, 3), np.nan), np.zeros((0, 3)), np.zeros((4, 2))])
def test_points_that_are_none_are_refused(points: np.ndarray) -> None:
    with pytest.raises(DataError, match="points"):
        centred(points)
