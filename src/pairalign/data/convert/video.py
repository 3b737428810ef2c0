"""Frames of a video file, decoded where they are written. Needs PyAV, the extra `video`.

Where it bites: a frame is named by its time stamp, in units of the stream's time base; `frame_times` reads all of them
without decoding anything. A frame is decoded from the start of its video, which costs some ten milliseconds for a short
one: a seek to a key frame misses the frames before it that refer to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.data.convert.extra import need


def need_av() -> Any:
    """The package `av`, or a `DataError` that says how to get it."""
    return need("av", "video", "videos are decoded by the package av")


def frame_times(path: Path) -> list[int]:
    """The time stamp of every frame of the first video stream, in order; raise `DataError` for what is no video."""
    av = need_av()
    try:
        with av.open(str(path)) as container:
            packets = container.demux(container.streams.video[0])
            return sorted({packet.pts for packet in packets if packet.pts is not None and not packet.is_discard})
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"video {path.name!r} cannot be read ({error}).") from error


def read_frame(path: Path, time: int) -> Any:
    """The frame of that time stamp, as an RGB image; raise `DataError` if it cannot be decoded."""
    av = need_av()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                if frame.pts == time:
                    return frame.to_image()
                if frame.pts is not None and frame.pts > time:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"video {path.name!r} cannot be decoded at {time} ({error}).") from error
    raise DataError(f"video {path.name!r} has no frame at {time}: it is damaged there.")
