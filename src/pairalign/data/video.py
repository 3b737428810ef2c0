"""The frames of a video or an animation, chosen, decoded in one pass, upright. Needs PyAV, the extra `video`.

Note:
    A video is not stored; `count` pictures of it are, as frames of the modality, and their times in seconds go into the
    sample's meta (`frames`), so that nothing pretends to be the whole. Animated pictures (gif, webp, png, avif) and
    files of several pages (tiff) are read by Pillow in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, read_bytes
from pairalign.data.formats import FORMATS, extension_of
from pairalign.data.raster import SEVERAL, check_size, frames_in, open_picture, upright

Which = Literal["spread", "first", "last", "middle"]


@dataclass(frozen=True)
class VideoFrames:
    """Which frames of a video are stored: `count` of them, spread evenly, or together at its start, middle or end."""

    count: int = 8
    which: Which = "spread"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 1000 or self.which not in get_args(Which):
            raise DataError(f"frames {self.count}, {self.which!r}: use 1 to 1000, and {', '.join(get_args(Which))}.")

    @classmethod
    def parse(cls, text: str) -> VideoFrames:
        """`16`, or `4:first`, as the command line has it."""
        count, _, which = text.partition(":")
        try:
            return cls(int(count), which or "spread")  # type: ignore[arg-type]
        except ValueError:
            raise DataError(f"frames {text!r}: write a number, or as 4:first.") from None

    def places(self, total: int) -> list[int]:
        """Numbers of the frames to keep of `total`; all of a shorter video."""
        count = min(self.count, total)
        if self.which == "spread":
            return sorted({round(place) for place in np.linspace(0, total - 1, count)} if count > 1 else {total // 2})
        start = {"first": 0, "middle": (total - count) // 2, "last": total - count}[self.which]
        return list(range(start, start + count))


class Frames(NamedTuple):
    """pictures: RGB, upright. seconds: when each is shown. rate: of all frames of the video, Hz; None if unknown."""

    pictures: list[Any]
    seconds: list[float]
    rate: float | None


def expanded(fields: Mapping[str, Any], choice: VideoFrames) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a row with each video as its frames `NAME.00`, `NAME.01`, …; and by modality their times."""
    found: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in fields.items():
        if "." in name or not isinstance(value, Path) or not is_video(value):
            found[name] = value
            continue
        try:
            frames = read_frames(value, choice)
        except DataError as error:
            raise DataError(f"{name}: file {value.name!r}: {error}") from error
        if all(low == high for picture in frames.pictures for low, high in picture.convert("RGB").getextrema()):
            raise DataError(f"{name}: file {value.name!r}: every frame is of one colour.")
        found |= {f"{name}.{n:02d}": picture for n, picture in enumerate(frames.pictures)}
        told[name] = {"seconds": [round(time, 6) for time in frames.seconds], "rate": frames.rate}
    return found, told


def is_video(path: Path) -> bool:
    """Whether a file holds several pictures that follow one another."""
    extension = extension_of(path.name)
    if extension in SEVERAL and path.is_file():
        return frames_in(path) > 1
    return extension in FORMATS and FORMATS[extension].family == "video"


def read_frames(path: Path, choice: VideoFrames) -> Frames:
    """The chosen frames of a video or animation; raise `DataError` for what cannot be decoded."""
    if FORMATS[extension_of(path.name)].family == "picture":
        return _of_animation(path, choice)
    from pairalign.data.convert.video import need_av

    need_av()
    try:
        return _of_video(path, choice)
    except DataError:
        raise
    except Exception as error:  # PyAV raises a dozen kinds for damaged files
        raise DataError(f"the video cannot be read ({error}).") from error


def _of_video(path: Path, choice: VideoFrames) -> Frames:
    from pairalign.data.convert.video import check_frame, frame_times, open_video

    times = frame_times(path)
    if not times:
        raise DataError("the video holds no frames.")
    wanted = {times[place] for place in choice.places(len(times))}
    pictures: dict[int, Any] = {}
    with open_video(path) as container:
        stream = container.streams.video[0]
        check("frame_pixels", stream.width * stream.height * len(wanted), "what is kept of the video")
        base, rate = float(stream.time_base), float(stream.average_rate) if stream.average_rate else None
        for frame in container.decode(stream):
            if frame.pts in wanted:
                check_frame(frame)
                turned = getattr(frame, "rotation", 0)
                image = frame.to_image()
                pictures[frame.pts] = image.rotate(turned, expand=True) if turned else image
            if len(pictures) == len(wanted):
                break
    if len(pictures) < len(wanted):
        raise DataError(f"the video is damaged: {len(wanted) - len(pictures)} of {len(wanted)} frames are missing.")
    shown = sorted(pictures)
    return Frames([pictures[time] for time in shown], [(time - times[0]) * base for time in shown], rate)


def _of_animation(path: Path, choice: VideoFrames) -> Frames:
    data, extension = read_bytes(path), extension_of(path.name)
    image = open_picture(data, extension)
    total, at, pixels = frames_in(path), 0.0, image.width * image.height
    wanted, pictures, seconds = set(choice.places(total)), list[Any](), list[float]()
    check("frame_pixels", len(wanted) * pixels, "what is kept of the animation")
    check("decoded_pixels", (max(wanted) + 1) * pixels, "the animation")
    try:
        for number in range(max(wanted) + 1):
            image.seek(number)
            check_size(image, "the animation's frame")
            image.load()
            if number in wanted:
                pictures.append(upright(image.copy()))
                seconds.append(at)
            at += float(image.info.get("duration", 0)) / 1000
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged bytes
        raise DataError(f"frame {number} of {total} cannot be decoded ({error}).") from error
    return Frames(pictures, seconds, round(total / at, 3) if at and len(wanted) == total else None)
