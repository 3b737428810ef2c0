"""The camera: a body on a table, seen from a random side under a random light.

Perspective sphere tracing (Hart 1996) at twice the size, Lambert and Blinn-Phong shading, a soft shadow.
Lengths in metres. Sees shape, size, colour and relief; hardness takes no part in anything here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pairalign.data.world.relief import AMPLITUDE
from pairalign.data.world.solids import HULL, Solid, length

Array = np.ndarray

COLOURS = {  # linear RGB
    "red": (0.78, 0.06, 0.05),
    "yellow": (0.88, 0.62, 0.04),
    "green": (0.08, 0.48, 0.12),
    "blue": (0.05, 0.20, 0.75),
    "purple": (0.36, 0.07, 0.55),
    "white": (0.88, 0.87, 0.84),
}
OVERSAMPLE = 2
DISTANCE = 0.44
VIEW = 0.140  # metres across the picture, at the object
_APPROACH, _REFINE = 12, 8  # steps to the hull of the relief, and from there to the surface
_THIN_OUT = {4: 0.02, 8: 0.008}  # after this step, rays farther than this (metres) have missed


@dataclass(frozen=True)
class View:
    """Nuisance of one picture: camera, light and table; angles in radians, `shift` in metres."""

    elevation: float
    yaw: float
    zoom: float
    shift: tuple[float, float]
    light: Array
    brightness: float
    table: Array


def draw_view(rng: np.random.Generator) -> View:
    """Draw where the camera stands, where the light comes from (relative to it), and the table."""
    yaw = float(rng.uniform(0, 2 * np.pi))
    side = yaw + rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.3)
    steep = rng.uniform(0.65, 0.95)
    light = np.array([np.cos(side) * np.cos(steep), np.sin(side) * np.cos(steep), np.sin(steep)], np.float32)
    tint = 1 + 0.16 * rng.uniform(-1, 1, 3)
    return View(
        elevation=float(rng.uniform(0.58, 0.78)),
        yaw=yaw,
        zoom=float(rng.uniform(0.97, 1.03)),
        shift=(float(rng.uniform(-0.008, 0.008)), float(rng.uniform(-0.006, 0.006))),
        light=light,
        brightness=float(rng.uniform(0.9, 1.15)),
        table=(rng.uniform(0.16, 0.42) * tint).astype(np.float32),
    )


def render_image(
    shape: str, size: str, colour: str, texture: str, rng: np.random.Generator, pixels: int = 48
) -> Image.Image:
    """An RGB picture of `pixels` × `pixels`."""
    view = draw_view(rng)
    solid = Solid(shape, size, texture)
    origin, rays = _camera(view, solid, pixels * OVERSAMPLE)
    picture = _table(view, solid, origin, rays, pixels)
    hit, p = _trace(solid, origin, rays)
    picture[:, hit] = _shade(view, solid, p, rays[:, hit], np.array(COLOURS[colour], np.float32))
    small = picture.reshape(3, pixels, OVERSAMPLE, pixels, OVERSAMPLE).mean((2, 4)).transpose(1, 2, 0)
    noisy = _srgb(small) + rng.normal(0, 0.008, small.shape).astype(np.float32)
    return Image.fromarray((np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")


def _srgb(linear: Array) -> Array:
    return np.clip(linear, 0, 1) ** np.float32(1 / 2.2)


def _camera(view: View, solid: Solid, pixels: int) -> tuple[Array, Array]:
    """Origin (3, 1) and unit rays (3, pixels²); the camera looks at a point 31 mm above the table."""
    ce, se, cy, sy = np.cos(view.elevation), np.sin(view.elevation), np.cos(view.yaw), np.sin(view.yaw)
    back = np.array([ce * cy, ce * sy, se])
    right = np.array([-sy, cy, 0.0])
    up = np.cross(back, right)
    target = np.array([0, 0, 0.031 - solid.half]) + view.shift[0] * right + view.shift[1] * up
    frame = np.stack([right, -up, -back], 1).astype(np.float32)
    rays = frame @ _grid(pixels, VIEW / view.zoom / DISTANCE)
    return (target + DISTANCE * back)[:, None].astype(np.float32), rays / length(rays)


def _grid(pixels: int, across: float) -> Array:
    line = ((np.arange(pixels) + 0.5) / pixels - 0.5) * across
    x, y = np.meshgrid(line.astype(np.float32), line.astype(np.float32))
    return np.stack([x.ravel(), y.ravel(), np.ones(pixels * pixels, np.float32)])


def _trace(solid: Solid, origin: Array, rays: Array) -> tuple[Array, Array]:
    """Indices of the rays that hit, and where (3, hits)."""
    reach, ahead = np.float32(solid.reach), -(origin.T @ rays)[0]
    within = reach * reach - ((origin * origin).sum() - ahead * ahead)
    index = np.flatnonzero(within > 0)
    rays, t = rays[:, index], ahead[index] - np.sqrt(within[index])
    hull = np.float32(0 if solid.texture == "smooth" else HULL)
    for turn in range(_APPROACH):
        gap = solid.distance(origin + t * rays) - hull
        t += np.maximum(gap, 0)
        if turn in _THIN_OUT:
            near = gap < _THIN_OUT[turn]
            index, rays, t = index[near], rays[:, near], t[near]
    for _ in range(_REFINE):
        gap = solid.field(origin + t * rays)
        t += np.float32(0.85) * gap
    hit = gap < 0.0006
    return index[hit], origin + t[hit] * rays[:, hit]


def _shade(view: View, solid: Solid, p: Array, rays: Array, colour: Array) -> Array:
    n = solid.normal(p)
    light = view.light[:, None]
    lambert = np.maximum(0, (n * light).sum(0))
    half = light - rays
    half /= length(half)
    gloss = np.maximum(0, (n * half).sum(0)) ** 24
    sky = 0.5 + 0.5 * n[2]
    cavity = np.clip(1 + solid.relief(p) * np.float32(0.27 / AMPLITUDE), 0.35, 1.4)
    near = np.clip((p[2] + np.float32(solid.half)) / np.float32(0.02), 0, 1)
    ambient = (0.18 + 0.30 * sky) * (0.6 + 0.4 * near)
    diffuse = (ambient + 0.85 * lambert) * cavity * np.float32(view.brightness)
    return colour[:, None] * diffuse + np.float32(0.16 * view.brightness) * gloss * cavity * cavity


def _table(view: View, solid: Solid, origin: Array, rays: Array, pixels: int) -> Array:
    """The table under the body (3, n): a plain tint, darker where the body keeps the light away."""
    side = pixels * OVERSAMPLE
    rays = np.ascontiguousarray(rays.reshape(3, side, side)[:, ::OVERSAMPLE, ::OVERSAMPLE]).reshape(3, -1)
    floor = np.float32(-solid.half)
    p = origin + rays * ((floor - origin[2]) / rays[2])
    contact = np.exp(-np.maximum(solid.distance(p), 0) / np.float32(0.009))
    lit = np.ones(p.shape[1], np.float32)
    for reach in (0.005, 0.011, 0.018, 0.027, 0.038, 0.052, 0.069, 0.088):
        free = solid.distance(p + np.float32(reach) * view.light[:, None]) / np.float32(reach)
        lit = np.minimum(lit, np.clip(0.5 + free / 0.3, 0, 1))
    glow = 1.08 - 40.0 * (p[0] ** 2 + p[1] ** 2)
    value = (0.38 + 0.62 * lit) * (1 - 0.45 * contact) * np.clip(glow, 0.5, 1.1) * np.float32(view.brightness)
    picture = (view.table[:, None] * value * 1.7).reshape(3, pixels, pixels)
    return picture.repeat(OVERSAMPLE, 1).repeat(OVERSAMPLE, 2).reshape(3, -1).astype(np.float32)
