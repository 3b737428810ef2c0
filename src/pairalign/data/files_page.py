"""`docs/files.md`, made from the tables that the code works with: `python -m pairalign.data.files_page > docs/files.md`.

Note:
    Only what is fact of a table stands in one (extensions, how they are stored, what they need, columns, formats that
    are refused); the words beside it are here, and a test packs a file of every format to see that they hold.
"""

from __future__ import annotations

from typing import NamedTuple

from pairalign.core.types import Kind
from pairalign.data.arrays import COLUMNS
from pairalign.data.formats import FORMATS, PLUGINS, REFUSED, Family
from pairalign.data.sources import MESH_POINTS
from pairalign.data.video import VideoFrames


class Told(NamedTuple):
    """What a reader must know of a family of files. kind: of a plain file of it, with nothing said when packing."""

    value: str
    kind: Kind
    given: str
    refused: str


TOLD: dict[Family, Told] = {
    "picture": Told(
        "a PIL picture, upright, with the depth it has",
        "image",
        "8-bit RGB in the tower's size, see below",
        "other content, cut short, more than `PAIRALIGN_MAX_PIXELS`, of one colour (unless `--allow-constant`)",
    ),
    "array": Told(
        "an array in native byte order, its dtype kept",
        "series",
        "float32, once nothing is lost by that, see below",
        "objects (pickles), words, dates, complex, unknown fields, NaN, empty, cut short, constant",
    ),
    "arrays": Told(
        "its only array, or `file.npz::name`",
        "series",
        "as npy",
        "several arrays and no name; as npy",
    ),
    "text": Told("a string, UTF-8", "text", "tokens", "empty, or other than UTF-8"),
    "json": Told("what it says", "text", "a dict or list, as the encoder reads it", "no valid JSON"),
    "sound": Told(
        "float32 (time,) or (channel, time), whole numbers scaled to [-1, 1]; its rate goes into the index",
        "series",
        "its samples at that rate",
        "another rate than the rest, cut short, NaN",
    ),
    "mesh": Told(
        f"a cloud's vertices (N, 3) and its columns, float32; of a mesh with faces {MESH_POINTS} points drawn evenly over "
        "its surface, the same ones every time",
        "points",
        "as many points as the network reads",
        "no vertices, no area, unknown columns, NaN",
    ),
    "video": Told(
        f"{VideoFrames().count} frames spread evenly (`--frames 16`, `--frames 4:first`), upright; their times in seconds "
        "and the video's rate go into the sample's meta",
        "image",
        "touch encoders: frames of RGB; a tower of single pictures refuses several (`--frames 1`)",
        "no frames, damaged, a part or a frame that is a video, every frame of one colour",
    ),
}

_HEAD = """# What may be packed, and what happens to it

This page is made from the code's own tables (`python -m pairalign.data.files_page`); a test packs a file of every format.
A file is known by its extension and checked by its content: a PNG called `.jpg` is read, and stored as what it is; an
EPS called `.jpg` is refused. A name of an unlisted format is refused, never packed as a text.

| files | value | stored as | kind | what an encoder gets | needs | refused by name |
|---|---|---|---|---|---|---|
"""

_PICTURES = """
**Several pictures in one file** (animated GIF, WebP, PNG, AVIF; TIFF pages; FLI, DCX) are frames, as of a video. Of an MPO
the first is read, which is the photo.

**Pillow's plugins that are used**, and no other: {plugins}. EPS, PostScript and WMF start a program; IPTC opens
further files; FITS unpacks without a bound; so they are refused whatever they are called.

## Pictures, as an 8-bit RGB tower gets them

One function makes them so for every built-in encoder, stage two, `ask`, `describe`, drawings and reports
(`pairalign.data.picture.rgb_picture`).

| stored | becomes |
|---|---|
| 8-bit RGB | itself |
| EXIF orientation | applied when the file is read; `width × height` are those of the upright picture |
| grey, 1 bit | the same in all three channels; bits are black and white |
| palette, CMYK, YCbCr, HSV, LAB | as Pillow converts it; refused by name if it cannot |
| transparency (RGBA, LA, PA, a palette's own) | laid on white |
| 16 bits: PNG, PGM, TIFF, uint16 arrays | divided by 257, so 0 to 65535 become 0 to 255 and nothing is cut off; where the whole modality would fill fewer than 32 grey levels, `plan` and `align` say so and name the option |
| 48-bit colour PNG | the upper 8 bits of each channel, which is what Pillow reads |
| PGM and PPM of another maximum than 255 or 65535 | scaled from that maximum, as Netpbm means it and Pillow reads it; store depth in PNG |
| floats in [0, 1] | times 255 |
| floats in [0, 255] | rounded |
| other floats, negative numbers, more than 16 bits | refused, until the encoder's option `levels` says what is black and what is white |
| signed differences | with `levels: [-255, 255]` 0 becomes mid-grey, and the sign is kept |
| arrays (H, W), (H, W, 1), (H, W, 3), (H, W, 4) uint8, (1, H, W), (3, H, W) | in that layout; other shapes are refused |

Whether floats are of [0, 1] or [0, 255] is decided over the whole modality, by the range that the index records; a
single file, as of `ask`, is judged by itself. Between 1 and 8 it is unclear, and `levels` is asked for. `levels: [500,
3020]` shows a depth of 0.5 to 3.02 m in millimetres with all 256 grey levels. An encoder of yours that wants depth gets
the stored picture or array in its `preprocess` as it is, with 16 bits.

## Arrays

| stored | becomes |
|---|---|
| bool, int8 to int64, uint8 to uint64, float16, float32, float64 | itself; big-endian and Fortran order read as native |
| numbers of a manifest | float64, and int64 beyond 2^53: every digit is kept |
| bfloat16 tensors | float32, exactly |
| a structured array (ROS PointCloud2), a PLY cloud | columns in this order, as far as it has them: {columns}; `rgb` packed into one number becomes three columns of 0 to 255; any other field is refused by name |
| complex | refused: store `numpy.stack([a.real, a.imag])` |
| dates and durations | refused: store seconds since the first |
| words, Python objects, masked values, float128 | refused, with the fix |
| NaN, infinity | the sample is bad (`--skip-bad` leaves it out and lists it) |
| a single number | stored as (1,); an `.npy` of no axes stays one |

**float32.** What an encoder declares as float32 is cast when it is read. Where rounding would be more than 1/256 of what
a channel varies by, that is refused with the fix (seconds since 1970 are kept to 128 s, metres on a map to half a metre);
`series` with `standardise`, and point networks, take the origin away in float64 first.

## Formats that are known and not read

| files | what to do |
|---|---|
"""


def files_page() -> str:
    """The page as markdown."""
    rows = [_row(family, needs) for family in TOLD for needs in _needs(family)]
    plugins = ", ".join(f"{name} (`.{'`, `.'.join(names)}`)" for name, names in PLUGINS.items())
    columns = ", ".join(" or ".join(f"`{name}`" for name in names) for names in COLUMNS)
    advice: dict[str, list[str]] = {}
    for name, fix in REFUSED.items():
        advice.setdefault(fix, []).append(f"`.{name}`")
    refused = [f"| {', '.join(names)} | {fix} |" for fix, names in advice.items()]
    below = _PICTURES.replace("{plugins}", plugins).replace("{columns}", columns)
    return _HEAD + "\n".join(rows) + "\n" + below + "\n".join(refused) + "\n"


def _needs(family: Family) -> list[str]:
    """The extras that formats of a family need, "" among them for the core."""
    return list(dict.fromkeys(found.extra for found in FORMATS.values() if found.family == family))


def _row(family: Family, needs: str) -> str:
    found = [entry for entry in FORMATS.values() if entry.family == family and entry.extra == needs]
    told = TOLD[family]
    extra = f"`pip install 'pairalign[{needs}]'`" if needs else "–"
    if family == "sound" and not needs:
        extra = "– (µ-law, A-law, ADPCM: `audio`)"
    names = ", ".join(f"`.{entry.extension}`" for entry in found)
    return f"| {names} | {told.value} | {found[0].stored} | {told.kind} | {told.given} | {extra} | {told.refused} |"


if __name__ == "__main__":
    print(files_page(), end="")
