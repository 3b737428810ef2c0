"""Frames of a video file, decoded where they are written. Needs PyAV, the extra `video`.

Note:
    Only the file itself is read, and only as one of three containers, known by its first bytes: others, a playlist
    called .mp4 among them, may name files and addresses that FFmpeg would open. A frame is named by its time stamp, in
    units of the stream's time base; `frame_times` reads all of them without decoding anything. A frame is decoded from
    the start of its video, which costs some ten milliseconds for a short one: a seek to a key frame misses the frames
    before it that refer to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pairalign.core.errors import DataError
from pairalign.core.limits import check, open_plain
from pairalign.data.convert.extra import need
from pairalign.data.raster import pixel_limit

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def need_av() -> Any:
    """The package `av`, or a `DataError` that says how to get it."""
    return need("av", "video", "videos are decoded by the package av")


@contextmanager
def open_video(path: Path) -> Iterator[Any]:
    """The container of a video file; raise `DataError` for what is none of the three, or has too large frames."""
    av = need_av()
    with os.fdopen(open_plain(path), "rb") as file:
        kind = _container(file.read(12))
        file.seek(0)
        if kind is None:
            raise DataError(f"video {path.name!r} cannot be read (it is no MP4, Matroska, WebM or AVI).")
        with av.open(file, format=kind, io_open=_nothing_else) as container:
            for stream in container.streams.video[:1]:
                check_frame(stream)
                stream.codec_context.options = {"max_pixels": str(pixel_limit())}
            yield container


def check_frame(frame: Any) -> None:
    """Raise `DataError` for a frame, or a stream of frames, of more pixels than are read."""
    check("pixels", frame.width * frame.height, "the video's frame", pixel_limit())


def _container(start: bytes) -> str | None:
    """FFmpeg's name of the container that begins so."""
    if start[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if start[:4] == b"RIFF" and start[8:11] == b"AVI":
        return "avi"
    return "mov" if start[4:8] in _ATOMS else None


def _nothing_else(url: str, flags: int, options: Any) -> NoReturn:
    raise PermissionError(f"the video names another file or address, {url!r}, which is not opened")


def frame_times(path: Path) -> list[int]:
    """The time stamp of every frame of the first video stream, in order; raise `DataError` for what is no video."""
    av = need_av()
    try:
        with open_video(path) as container:
            found: set[int] = set()
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is not None and not packet.is_discard:
                    found.add(packet.pts)
                    check("frames", len(found), "the video")
            return sorted(found)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"video {path.name!r} cannot be read ({error}).") from error


def read_frame(path: Path, time: int) -> Any:
    """The frame of that time stamp, as an RGB image; raise `DataError` if it cannot be decoded."""
    av = need_av()
    try:
        with open_video(path) as container:
            for frame in container.decode(container.streams.video[0]):
                if frame.pts == time:
                    check_frame(frame)
                    return frame.to_image()
                if frame.pts is not None and frame.pts > time:
                    break
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"video {path.name!r} cannot be decoded at {time} ({error}).") from error
    raise DataError(f"video {path.name!r} has no frame at {time}: it is damaged there.")
