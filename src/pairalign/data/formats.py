"""The files that may be packed, one table: what each holds, how it is stored, and what else it needs.

`decode`, `encode`, the manifest and `docs/files.md` are all made from it.

Note:
    A format that is not listed is refused by name, never taken for a caption; pictures are opened by the plugins of
    Pillow that are listed here and by no other, because some of those run a program (PostScript) or open further files.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from pairalign.core.errors import DataError, did_you_mean

Family = Literal["picture", "array", "arrays", "text", "json", "sound", "mesh", "video"]
Stored = Literal["as it is", "npy", "frames"]


@dataclass(frozen=True)
class Format:
    """One kind of file. stored: as what a shard keeps it. plugin: Pillow's name. extra: needed besides the core."""

    extension: str
    family: Family
    stored: Stored = "as it is"
    plugin: str = ""
    extra: str = ""


# Pillow's own name of each format, and how its files are called. Left out are those that start a program (EPS, WMF),
# that open further files without a say in their format (IPTC), that unpack without a bound (FITS), or that are stubs.
PLUGINS: dict[str, tuple[str, ...]] = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "MPO": ("mpo",),
    "PNG": ("png", "apng"),
    "PPM": ("pgm", "ppm", "pbm", "pnm", "pfm"),
    "WEBP": ("webp",),
    "TIFF": ("tif", "tiff"),
    "BMP": ("bmp",),
    "DIB": ("dib",),
    "GIF": ("gif",),
    "AVIF": ("avif", "avifs"),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "QOI": ("qoi",),
    "TGA": ("tga", "icb", "vda", "vst"),
    "ICO": ("ico",),
    "ICNS": ("icns",),
    "CUR": ("cur",),
    "PCX": ("pcx",),
    "DCX": ("dcx",),
    "DDS": ("dds",),
    "PSD": ("psd",),
    "SGI": ("sgi", "rgb", "rgba", "bw"),
    "SUN": ("ras",),
    "MSP": ("msp",),
    "XBM": ("xbm",),
    "XPM": ("xpm",),
    "IM": ("im",),
    "PIXAR": ("pxr",),
    "BLP": ("blp",),
    "FTEX": ("ftc", "ftu"),
    "FLI": ("fli", "flc"),
    "GBR": ("gbr",),
}
SIGNED = ("JPEG", "PNG", "PPM", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "QOI", "PSD")  # known by their start

FORMATS: dict[str, Format] = {
    format_.extension: format_
    for format_ in (
        *(Format(name, "picture", plugin=plugin) for plugin, names in PLUGINS.items() for name in names),
        Format("npy", "array"),
        Format("npz", "arrays", "npy"),
        Format("txt", "text"),
        Format("json", "json"),
        Format("wav", "sound"),
        *(Format(name, "sound", extra="audio") for name in ("flac", "ogg", "oga", "opus", "mp3")),
        *(Format(name, "sound", extra="audio") for name in ("aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64")),
        Format("off", "mesh", "npy"),
        *(Format(name, "mesh", "npy", extra="mesh") for name in ("ply", "stl", "obj", "glb")),
        *(Format(name, "video", "frames", extra="video") for name in ("mp4", "mkv", "webm", "avi", "mov", "m4v")),
    )
}
READ = tuple(FORMATS)
STORED = tuple(name for name, format_ in FORMATS.items() if format_.stored == "as it is")
PICTURES = tuple(name for name, format_ in FORMATS.items() if format_.family == "picture")
SOUNDS = tuple(name for name, format_ in FORMATS.items() if format_.family == "sound")

_IMAGE, _CLOUD = "save it as PNG or TIFF", "save it as PLY or as an array (.npy)"
_NUMBERS, _SOUND = "save what is wanted of it as an array (.npy)", "save it as WAV or FLAC"
_PICKLE = "it may run code when it is read: save its numbers with numpy.save"
_DOCUMENT, _ARCHIVE = "save its text as .txt, its pictures as PNG", "unpack it and name the files inside"

REFUSED: dict[str, str] = {
    **dict.fromkeys(("eps", "ps", "pdf", "ai", "svg", "wmf", "emf"), f"it is a program for a printer: {_IMAGE}"),
    **dict.fromkeys(("heic", "heif", "dng", "cr2", "nef", "arw", "exr", "hdr", "fits", "fit", "dcm", "jxl"), _IMAGE),
    **dict.fromkeys(("pcd", "las", "laz", "e57", "xyz", "pts", "fbx", "dae", "blend", "gltf", "3mf", "usdz"), _CLOUD),
    **dict.fromkeys(("h5", "hdf5", "hdf", "mat", "parquet", "feather", "nii", "bag", "db3", "mcap"), _NUMBERS),
    **dict.fromkeys(("tfrecord", "safetensors", "csv", "tsv", "xlsx"), _NUMBERS),
    **dict.fromkeys(("pkl", "pickle", "pt", "pth", "ckpt", "joblib"), _PICKLE),
    **dict.fromkeys(("m4a", "aac", "wma", "amr"), _SOUND),
    **dict.fromkeys(("doc", "docx", "ppt", "pptx", "rtf"), _DOCUMENT),
    **dict.fromkeys(("zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"), _ARCHIVE),
    **dict.fromkeys(("mpg", "mpeg", "wmv", "flv", "ts"), "save it as MP4"),
}
_COMMON = (
    "jpg", "jpeg", "png", "webp", "tiff", "bmp", "gif", "npy", "npz", "txt", "json", "wav", "flac", "mp3", "ply", "stl",
    "obj", "glb", "off", "mp4", "mkv", "webm", "avi",
)  # fmt: skip
_WORDS = ("im", "bw", "rgb", "rgba", "off", "cur", "au", "snd", "ras", "ts")  # with which a sentence may end, too


def extension_of(name: str) -> str:
    """`Photo.JPG` → "jpg"; of a member of an archive, that of the archive."""
    return os.path.splitext(name.partition("::")[0])[1].lower().removeprefix(".")


def names_file(text: str) -> bool:
    """Whether a text ends as the name of a file that is read; one word, where a sentence may end so, too."""
    tidy = text.strip()
    extension = without_end(extension_of(tidy))
    return extension in FORMATS and (extension not in _WORDS or len(tidy.split()) == 1)


def without_end(text: str) -> str:
    """A text without what is no letter or digit at its end; `\\W+$` would try anew at every sign of a long one."""
    found = re.match(r"\W*", text[::-1])
    return text[: len(text) - (found.end() if found else 0)]


def known_extension(name: str, what: str, known: tuple[str, ...] = READ) -> str:
    """The extension as a shard spells it; raise `DataError` with what to do about a format that is not read."""
    extension = name.lower()
    if extension in known:
        return extension.replace("jpeg", "jpg")
    if extension in REFUSED:
        raise DataError(f"{what}: extension has no decoder: .{extension} is not read: {REFUSED[extension]}.")
    if extension in FORMATS:
        raise DataError(f"{what}: .{extension} cannot be stored as it is: give the file, or its values.")
    near = did_you_mean(extension, [name for name in _COMMON if name in known])
    hint = near if near.startswith(" Did") else f" What is read: {', '.join(known)}."
    raise DataError(f"{what}: extension has no decoder: files of type .{extension} are not read.{hint}")
