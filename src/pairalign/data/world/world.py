"""The built-in world: a SYNTHETIC paired world, so that everything runs offline and every answer is known.

Nothing here was recorded: pictures, gel images, point clouds and captions are rendered from five known
factors. It shows that a method works, not how well it works on real sensors. A sample is a function of (seed,
index) and its
factors: each modality draws its nuisance from its own stream, so rendering fewer modalities changes none of
them.

Note:
    An index is an object; `streams.py` gives every edge and split objects of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.world.factors import FACTORS, MODALITIES, check_factors, check_modalities, combinations
from pairalign.data.world.image import render_image
from pairalign.data.world.points import render_points
from pairalign.data.world.text import render_text
from pairalign.data.world.touch import render_touch


@dataclass(frozen=True)
class World:
    """A synthetic world of objects; all its modalities are rendered, none is recorded.

    seed: of everything drawn. image_size, touch_size: pixels along each side. points: per cloud. normals:
    clouds of (points, 6) positions and unit normals rather than (points, 3) positions.
    """

    seed: int = 0
    image_size: int = 48
    touch_size: int = 48
    points: int = 256
    normals: bool = True

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("image_size", 16), ("touch_size", 16), ("points", 16)):
            if getattr(self, name) < least:
                raise DataError(f"World({name}={getattr(self, name)}): give at least {least}.")

    def sample(
        self,
        index: int,
        combination: Mapping[str, str] | None = None,
        modalities: Sequence[str] = MODALITIES,
    ) -> dict[str, Any]:
        """Object number `index`.

        combination: its factors; by default they are drawn from all combinations by (seed, index).
        Returns key (str), factors, and those asked for of image, touch with touch_background (PIL, RGB),
        points (float32, metres) and text. Raises `DataError` for an unknown factor value or modality.
        """
        check_modalities(modalities)
        if index < 0:
            raise DataError(f"sample(index={index}): give an index from 0.")
        if combination is None:
            every = combinations()
            drawn = every[self._rng(index, len(MODALITIES)).integers(len(every))]
            combination = dict(zip(FACTORS, drawn, strict=True))
        factors = check_factors(combination)
        sample: dict[str, Any] = {"key": f"w{self.seed}-{index:013d}", "factors": factors}
        for name in modalities:
            sample.update(self._render(name, factors, self._rng(index, MODALITIES.index(name))))
        return sample

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.seed, index & 0xFFFFFFFF, index >> 32, stream]))

    def _render(self, name: str, factors: dict[str, str], rng: np.random.Generator) -> dict[str, Any]:
        if name == "image":
            seen = (factors["shape"], factors["size"], factors["colour"], factors["texture"])
            return {"image": render_image(*seen, rng, self.image_size)}
        if name == "touch":
            gel, background = render_touch(factors["texture"], factors["hardness"], rng, self.touch_size)
            return {"touch": gel, "touch_background": background}
        if name == "points":
            body = (factors["shape"], factors["size"], factors["texture"])
            return {"points": render_points(*body, rng, self.points, self.normals)}
        return {"text": render_text(factors, rng)}
