"""Reading a picture file: by Pillow, with the plugins that `formats` lists, upright, and of a bounded size.

Note:
    What counts is the content, so a PNG called .jpg is read and an EPS called .jpg refused; the EXIF orientation is
    applied, so the size is that of the upright picture; the size is looked at before anything is decoded
    (`core.limits`, "pixels"), because a few kilobytes can hold gigabytes of one colour.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from pairalign.core.errors import DataError
from pairalign.core.limits import check, limit, open_plain, variable
from pairalign.data.arrays import check_finite, plain_array
from pairalign.data.formats import PLUGINS, SIGNED, extension_of

_PLUGIN = {name: plugin for plugin, names in PLUGINS.items() for name in names}
_STARTS = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
ORIENTATION = 0x0112
PILLOWS = 89_478_485  # pixels from which on Pillow warns by itself
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
COUNTED = {"GIF", "WEBP", "PNG", "TIFF", "AVIF", "FLI", "DCX"}  # of which one file may hold several pictures
SEVERAL = {name for plugin in COUNTED for name in PLUGINS[plugin]}


def open_picture(data: bytes | BinaryIO, extension: str) -> Any:
    """The picture as Pillow opens it, not decoded yet; raise `DataError` for other content or too many pixels."""
    from PIL import Image, UnidentifiedImageError

    own, most = _PLUGIN[extension], pixel_limit()
    if Image.MAX_IMAGE_PIXELS is not None and most > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = most  # Pillow's own bound is no lower than what the user asked of us
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            stream = io.BytesIO(data) if isinstance(data, bytes) else data
            image = Image.open(stream, formats=[*SIGNED, *({own} - set(SIGNED))])
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _bomb() from error
        except UnidentifiedImageError:
            raise DataError(
                f"the bytes are no valid {extension}, nor a picture of another format that is read."
            ) from None
        except Exception as error:  # Pillow raises a dozen kinds for a damaged header
            raise DataError(f"the bytes are no valid {extension} ({error}).") from error
    check_size(image)
    return image


def pixel_limit() -> int:
    """Most pixels of a picture: ours, or `PIL.Image.MAX_IMAGE_PIXELS` where a user set that and not ours."""
    from PIL import Image

    if variable("pixels") in os.environ or Image.MAX_IMAGE_PIXELS in (None, PILLOWS):
        return limit("pixels")
    return int(Image.MAX_IMAGE_PIXELS)


def check_size(image: Any, what: str = "the picture") -> None:
    """Raise `DataError` for a picture, or a frame, of more pixels than are read."""
    check("pixels", image.width * image.height, what, pixel_limit())


def read_picture(data: bytes, extension: str) -> Any:
    """The decoded picture, upright; the first one where a file holds several."""
    from PIL import Image

    image = open_picture(data, extension)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # of a picture inside an icon file
        try:
            image.load()
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _bomb() from error
    check_size(image)  # the pictures inside an icon file may be larger than it says
    if image.mode == "F":
        check_finite(plain_array(image))
    return upright(image)


def upright(image: Any) -> Any:
    """The picture turned as its EXIF orientation says, without that note; itself where there is none, or an unreadable
    one."""
    turn = _TURNS.get(orientation(image))
    if turn is None:
        return image
    from PIL import Image

    turned = image.transpose(Image.Transpose[turn])
    for note in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        turned.info.pop(note, None)
    return turned


def orientation(image: Any) -> int:
    """1 to 8 as EXIF counts; 1, upright, where nothing is said."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises a dozen kinds for damaged notes, which say nothing of the pixels
        return 1


def picture_extension(data: bytes, extension: str) -> str:
    """The extension that a picture's content has, whatever its name says; raise `DataError` if it is no picture."""
    for start, found in _STARTS.items():
        if data.startswith(start):
            return found
    plugin = open_picture(data, extension).format
    if plugin == _PLUGIN[extension] or plugin not in PLUGINS:
        return extension
    return PLUGINS[plugin][0]


def frames_in(path: Path) -> int:
    """How many pictures a file holds: 1, but for animations and stacks of pages."""
    extension = extension_of(path.name)
    if extension not in SEVERAL:
        return 1
    with os.fdopen(open_plain(path), "rb") as stream:
        image = open_picture(stream, extension)
        try:
            count = int(getattr(image, "n_frames", 1)) if image.format in COUNTED else 1
        except Exception as error:  # Pillow raises a dozen kinds for damaged bytes
            raise DataError(f"the bytes are no valid {extension} ({error}).") from error
    check("frames", count, "the animation")
    return count


def _bomb() -> DataError:
    return DataError(
        f"the picture is too large: more than {pixel_limit():,} pixels. Make it smaller first, or set "
        f"{variable('pixels')} if it is meant."
    )
