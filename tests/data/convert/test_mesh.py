"""OFF meshes and points on their surface, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.core.errors import DataError
from pairalign.data.convert.mesh import centred, points_of_off, read_off, sample_surface

TETRAHEDRON = "OFF\n4 4 6\n0 0 0\n1 0 0\n0 2 0\n0 0 3\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_joined_header_gives_the_points_of_a_plain_one(tmp_path: Path) -> None:
    (tmp_path / "joined").mkdir()
    plain = write(tmp_path / "chair_0001.off", TETRAHEDRON)
    joined = write(tmp_path / "joined" / "chair_0001.off", TETRAHEDRON.replace("OFF\n", "OFF", 1))
    np.testing.assert_array_equal(points_of_off(plain, 50), points_of_off(joined, 50))


def test_comments_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = TETRAHEDRON.replace("OFF\n", "OFF # a comment 9 9\n# 7 7 7\n").replace("\n", "\r\n")
    vertices, triangles = read_off(write(tmp_path / "m.off", text))
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]
    assert triangles.tolist() == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    "text",
    [
        TETRAHEDRON.replace("4 4 6", "4 3 6"),  # numbers behind the last face
        TETRAHEDRON.replace("3 1 2 3", "3 1 2 3 255 0 0"),  # a colour, that would be read as the next face
        TETRAHEDRON.replace("3 1 2 3", "3 1 2 2.5"),
        TETRAHEDRON.replace("3 1 2 3", "3 1 2 -1"),
        TETRAHEDRON.replace("4 4 6", "-4 4 6"),
        TETRAHEDRON.replace("4 4 6", "5 4 6"),  # a vertex is missing
        TETRAHEDRON.replace("1 0 0", "one 0 0"),
        TETRAHEDRON[:-4],
    ],
)
def test_what_does_not_add_up_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"m\.off"):
        read_off(write(tmp_path / "m.off", text))


def test_points_lie_on_a_triangle_each_in_shares_of_area_and_evenly(tmp_path: Path) -> None:
    vertices, triangles = read_off(write(tmp_path / "m.off", TETRAHEDRON))
    count = 6_000
    points = sample_surface(vertices, triangles, count, seed=3).astype(np.float64)
    hits, areas = np.zeros((len(triangles), count), bool), []
    for place, (a, b, c) in enumerate(vertices[triangles]):
        u, v = b - a, c - a
        areas.append(0.5 * np.sqrt((u @ u) * (v @ v) - (u @ v) ** 2))  # Lagrange, not a cross product
        weights, *_ = np.linalg.lstsq(np.stack([u, v], 1), (points - a).T, rcond=None)
        off = np.linalg.norm(points - a - weights.T @ np.stack([u, v]), axis=1)
        hits[place] = (off < 1e-5) & (weights > -1e-5).all(0) & (weights.sum(0) < 1 + 1e-5)
        if place == 3:  # the large face: four equal parts hold a quarter each
            inside = weights[:, hits[place]]
            parts = np.array([(inside[0] > 0.5).sum(), (inside[1] > 0.5).sum(), (inside.sum(0) < 0.5).sum()])
            parts = np.append(parts, inside.shape[1] - parts.sum())
            expected = inside.shape[1] / 4
            assert ((parts - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, 0.1 %
    assert hits.any(0).all()
    expected = np.array(areas) / sum(areas) * count
    found = hits.sum(1)
    assert ((found - expected) ** 2 / expected).sum() < 16.3
    assert len(np.unique(points, axis=0)) > 0.99 * count


def test_the_draw_follows_from_the_name_alone(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    first, moved, other = (
        write(tmp_path / name, TETRAHEDRON) for name in ("a_0001.off", "moved/a_0001.off", "a_0002.off")
    )
    np.testing.assert_array_equal(points_of_off(first, 30), points_of_off(moved, 30))
    assert not np.array_equal(points_of_off(first, 30), points_of_off(other, 30))


def test_unasked_nothing_is_moved_and_a_mesh_without_area_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.off", TETRAHEDRON)
    np.testing.assert_array_equal(points_of_off(path, 9, False).min(0) >= 0, True)
    assert np.linalg.norm(points_of_off(path, 9), axis=1).max() == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataError, match="no area"):
        sample_surface(np.zeros((3, 3)), np.array([[0, 1, 2]]), 5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 99), st.floats(1e-3, 1e4), st.booleans())
def test_a_centred_cloud_forgets_place_and_size(count: int, seed: int, scale: float, extra: bool) -> None:
    draw = np.random.default_rng(seed)
    cloud = draw.normal(size=(count, 6 if extra else 3))
    moved = cloud.copy()
    moved[:, :3] = cloud[:, :3] * scale + scale * draw.normal(size=3)
    np.testing.assert_allclose(centred(moved), centred(cloud), atol=2e-4)
    np.testing.assert_array_equal(centred(moved, False), moved.astype(np.float32))
    np.testing.assert_array_equal(centred(moved)[:, 3:], cloud[:, 3:].astype(np.float32))


def test_words_are_no_points() -> None:
    with pytest.raises(DataError, match="numbers are needed"):
        centred(np.array([["a", "b", "c"]]))


def test_map_coordinates_are_not_rounded_away(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).random((64, 3))
    away = draw + np.array([5_403_210.5, 512_345.25, 311.0])
    np.testing.assert_allclose(centred(away), centred(draw), atol=1e-5)
    np.testing.assert_array_equal(centred(away, normalise=False), away)
    assert centred(draw, normalise=False).dtype == np.float32
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]) + np.array([5_403_210.5, 512_345.25, 311.0])
    assert len(np.unique(sample_surface(corners, np.array([[0, 1, 2]]), 500)[:, 0])) == 500


@pytest.mark.parametrize("place", [0.1, 1000.1, 3.0])
def test_points_in_one_place_are_refused_whatever_their_mean_is_rounded_to(place: float) -> None:
    with pytest.raises(DataError, match="all 77 coincide"):
        centred(np.full((77, 3), place, np.float32))
