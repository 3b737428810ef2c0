"""Raw gel images to tensors: resize, subtract the background, stack frames, note the sensor type.

One sample is (frames, 4, S, S) bytes: three colours, and a constant plane with the number of the sensor type (0 for
unknown), so that everything travels in one tensor; encoders compute with all of it over 255. Differences from a
background are floats from the start, because a byte would lose half a level of them.

Note:
    With `background="subtract"` a sample without a background is an error, because a raw frame looks nothing like a
    difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, SignalError, did_you_mean
from pairalign.core.pixels import change_light, random_shift, resize_pixels, shift_pixels
from pairalign.core.types import Signal
from pairalign.data.picture import Levels, check_levels, common_levels, rgb_picture

BACKGROUNDS = ("none", "subtract")


class GelReader:
    """Turns one raw contact into a tensor; shared by every gel encoder.

    size: pixels along each side. frames: per contact; a shorter contact repeats its last. background: "none" or
    "subtract". sensors: known sensor types; an unseen one counts as unknown. levels: [black, white] of pictures that
    are no bytes; null: as `rgb_picture` takes them, over all frames of a contact together.
    """

    def __init__(
        self,
        size: int,
        frames: int,
        background: str,
        sensors: Sequence[str],
        levels: Sequence[float] | None = None,
    ) -> None:
        if background not in BACKGROUNDS:
            raise ConfigError(f"background={background!r}.{did_you_mean(background, BACKGROUNDS)}")
        if size < 8 or frames < 1 or len(sensors) > 255:
            raise ConfigError(f"size={size}, frames={frames}, {len(sensors)} sensors: at least 8, 1, at most 255.")
        self.size, self.frames, self.background, self.sensors = size, frames, background, tuple(sensors)
        self.levels = check_levels(levels)

    @property
    def signal(self) -> Signal:
        """(frames, 4, S, S), values in [0, 1]."""
        shape, axes = (self.frames, 4, self.size, self.size), ("frame", "channel", "height", "width")
        return Signal("image", shape, unit="1", axes=axes, range=(0.0, 1.0))

    @property
    def compact_signal(self) -> Signal:
        """The same as bytes, but where a background is subtracted."""
        return self.signal if self.background == "subtract" else replace(self.signal, dtype="uint8", range=(0, 255))

    def read(self, raw: Any) -> Tensor:
        """A picture, an array as `rgb_picture` reads it, a list of frames, or parts {"value" | "frames", "background",
        "sensor"}."""
        parts = raw if isinstance(raw, Mapping) else {"frames" if isinstance(raw, (list, tuple)) else "value": raw}
        found = list(parts["frames"]) if "frames" in parts else [parts["value"]]
        own = [*found[-self.frames :], *([parts["background"]] if "background" in parts else [])]
        levels = self.levels or common_levels(own)
        pictures = [self._picture(frame, levels) for frame in found[-self.frames :]]
        pictures += [pictures[-1]] * (self.frames - len(pictures))
        name = str(parts.get("sensor", "")).strip()
        code = self.sensors.index(name) + 1 if name in self.sensors else 0
        value = torch.empty(self.frames, 4, self.size, self.size, dtype=getattr(torch, self.compact_signal.dtype))
        value[:, 3] = code if self.background == "none" else code / 255
        for frame, picture in zip(value, pictures, strict=True):
            frame[:3] = picture
        if self.background == "subtract":
            if "background" not in parts:
                raise SignalError(
                    "touch has no background image, which background='subtract' needs: "
                    "pack one as the part `touch.background`, or set background='none'."
                )
            value[:, :3].sub_(self._picture(parts["background"], levels)).div_(510).add_(0.5)
        return value

    def _picture(self, frame: Any, levels: Levels | None) -> Tensor:
        return resize_pixels(rgb_picture(frame, levels), (self.size, self.size), "bilinear")


def sensor_codes(batch: Tensor) -> Tensor:
    """(B, frames, 4, S, S), bytes or in [0, 1] → number of each sample's sensor type (B,), 0 for unknown."""
    return (batch[:, 0, 3, 0, 0] * (255 if batch.is_floating_point() else 1)).round().long()


def jitter_gel(value: Tensor, generator: torch.Generator, shift: float = 0.06, light: float = 0.08) -> Tensor:
    """A random shift by up to `shift` of the side, and contrast and brightness by `light`; the type plane stays."""
    moved = shift_pixels(value, *random_shift(generator, value.shape[-1], shift))
    gain, offset = (1 + light * (2 * torch.rand(2, generator=generator) - 1)).tolist()
    brighter = 0.5 * (offset - gain)  # around mid-grey
    if not value.is_floating_point():
        return change_light(moved, gain, [255 * brighter] * 3 + [None])
    moved[:, :3].mul_(gain).add_(brighter).clamp_(0, 1)
    return moved
