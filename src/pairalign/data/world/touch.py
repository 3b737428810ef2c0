"""The gel sensor: a camera looks at the back of a pressed gel under three coloured lights.

Contact mechanics in one line: at a given approach, object and gel share the deformation by their stiffness. A
hard object leaves its full relief and curvature in the gel; a soft one flattens, so that at the same contact
width its imprint is shallower, with weaker and rounder relief. Press force changes the width and hides
nothing: the slope of the gel tells the hardness. Shading is photometric (Johnson and Adelson 2009,
doi:10.1109/CVPR.2009.5206534). A patch of the surface touches the sensor, so shape, size and colour take no
part: where and how the patch curves is drawn from one distribution for all objects.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pairalign.data.world.relief import CELL, PERIOD, height

Array = np.ndarray

WINDOW = 0.048  # metres across the gel
SHARE = {"soft": 0.32, "firm": 0.58, "hard": 1.0}  # of the deformation that the gel takes
SPREAD = {"soft": 1.15, "firm": 1.06, "hard": 1.0}  # of the contact: a soft object gives way
SKIN = {"soft": 3, "firm": 2, "hard": 1}  # rounds of blur at 48 pixels: soft relief rounds off
CURVATURE = 0.042  # radius in metres of the touched patch
LIGHTS = np.deg2rad([90.0, 210.0, 330.0])
_TINT = np.array([[1.0, 0.12, 0.10], [0.10, 1.0, 0.14], [0.12, 0.16, 1.0]], np.float32)


def render_touch(
    texture: str, hardness: str, rng: np.random.Generator, pixels: int = 48
) -> tuple[Image.Image, Image.Image]:
    """The gel image during contact, and the same sensor's image without contact; RGB, `pixels` × `pixels`."""
    gain = _illumination(rng, pixels)
    depth = contact_depth(texture, hardness, rng, pixels)
    return _photograph(depth, gain, rng), _photograph(np.zeros_like(depth), gain, rng)


def contact_depth(texture: str, hardness: str, rng: np.random.Generator, pixels: int = 48) -> Array:
    """Depth of the imprint in metres (pixels, pixels), 0 where there is no contact."""
    x, y = _grid(pixels)
    cx, cy = rng.uniform(-0.0035, 0.0035, 2)
    turn, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 2)
    period = np.float32(PERIOD * CELL.get(texture, 1.0) * rng.uniform(0.92, 1.08))
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = (c * x - s * y) / period + np.float32(phase[0]), (s * x + c * y) / period + np.float32(phase[1])
    tilt = rng.uniform(0, 0.4)
    solid = np.stack([u, v, np.float32(tilt) * u + np.float32(7 * phase[0])]) * np.float32(PERIOD)
    relief = height(texture, u.ravel(), v.ravel(), solid.reshape(3, -1)).reshape(x.shape)
    radius = CURVATURE * rng.uniform(0.9, 1.1)
    width = SPREAD[hardness] * rng.uniform(0.0138, 0.0172)  # radius of the contact in metres: the press force
    dome = np.float32(width * width / (2 * radius)) - ((x - cx) ** 2 + (y - cy) ** 2) / np.float32(2 * radius)
    pressed = np.float32(SHARE[hardness]) * (dome + relief)
    return _soften(np.maximum(pressed, 0), rounds=max(1, round(SKIN[hardness] * (pixels / 48) ** 2)))


def _grid(pixels: int) -> tuple[Array, Array]:
    line = (((np.arange(pixels) + 0.5) / pixels - 0.5) * WINDOW).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def _soften(depth: Array, rounds: int) -> Array:
    """Gel and object bridge sharp corners: a small binomial blur."""
    for _ in range(rounds):
        padded = np.pad(depth, 1, mode="edge")
        depth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
        depth = 0.25 * depth[:, :-2] + 0.5 * depth[:, 1:-1] + 0.25 * depth[:, 2:]
    return depth


def _illumination(rng: np.random.Generator, pixels: int) -> Array:
    """(3, pixels, pixels): each light is stronger near its side; sensors differ a little."""
    x, y = _grid(pixels)
    near = [
        1 + np.float32(0.22 / (WINDOW / 2)) * (np.float32(np.cos(a)) * x + np.float32(np.sin(a)) * y) for a in LIGHTS
    ]
    return np.stack(near) * rng.uniform(0.95, 1.05, (3, 1, 1)).astype(np.float32)


def _photograph(depth: Array, gain: Array, rng: np.random.Generator) -> Image.Image:
    """Shade the gel surface from its slope, light by light, and add the camera's noise."""
    pixel = WINDOW / depth.shape[0]
    gy, gx = np.gradient(depth, np.float32(pixel))
    steep = 1 / np.sqrt(1 + gx * gx + gy * gy)
    lights = np.stack([(np.float32(np.cos(a)) * gx + np.float32(np.sin(a)) * gy) for a in LIGHTS])
    lit = gain * np.maximum(0, 0.42 + 0.62 * lights) * steep
    colour = np.einsum("lhw,lc->hwc", lit, _TINT) * 0.92 + 0.03
    colour += rng.normal(0, 0.010, colour.shape).astype(np.float32)
    return Image.fromarray((np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")
