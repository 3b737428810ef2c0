"""Files that a shard does not keep as they are, as the array that is stored of them: archives of arrays, and meshes.

A cloud gives its vertices with normals, colours and intensity as columns, in the order of `arrays.COLUMNS`; a mesh
gives points drawn evenly over its surface, the same ones every time.

Note:
    A mesh has no number of points of its own, so it gets `MESH_POINTS` of them; sample it yourself and pack the array
    where another number is wanted.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, read_bytes
from pairalign.data.arrays import check_finite, plain_array, read_npy, table_of

MESH_POINTS = 2048
_MEMBER, _PACKED = b"PK\1\2", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADER = 1 << 16  # bytes within which the header of a PLY file ends


def read_source(data: bytes, extension: str, member: str | None = None) -> np.ndarray:
    """The array that a file becomes; raise `DataError` with the reason. member: of an archive, by name."""
    try:
        value = _member(data, member) if extension == "npz" else _points(data, extension)
    except DataError:
        raise
    except Exception as error:  # zipfile, numpy and trimesh raise a dozen kinds for damaged bytes
        raise DataError(f"the bytes are no valid {extension} ({len(data)} bytes: {error}).") from error
    check_finite(value)
    return value


def read_member(path: Path, member: str) -> np.ndarray:
    """One array of an archive, `file.npz::member` of a manifest."""
    try:
        return read_source(read_bytes(path), "npz", member)
    except OSError as error:
        raise DataError(f"file {path.name!r} cannot be read: {error.strerror}.") from error
    except DataError as error:
        raise DataError(f"file {path.name!r}: {error}") from error


def _member(data: bytes, wanted: str | None) -> np.ndarray:
    check("members", data.count(_MEMBER), "the archive")  # before its directory is read into objects
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        if wanted is None and len(found) == 1:
            wanted = next(iter(found))
        if wanted is None or wanted not in found:
            which = "which of its arrays" if wanted is None else f"it has no {wanted!r}"
            raise DataError(f"{which}? It holds {', '.join(sorted(found)) or 'none'}: name one as file.npz::NAME.")
        about = archive.getinfo(found[wanted])
        if about.compress_type not in _PACKED:
            raise DataError(f"its array {wanted!r} is packed as numpy packs none: save it with numpy.savez.")
        check("file", about.file_size, f"its array {wanted!r}")
        return read_npy(archive.read(found[wanted]))


def _points(data: bytes, extension: str) -> np.ndarray:
    """Vertices of a cloud, or points on the surface of a mesh."""
    from pairalign.data.convert.mesh import parse_off, sample_surface

    if extension == "off":
        return sample_surface(*parse_off(data.decode("ascii", "replace"), "the file"), MESH_POINTS)
    _check_mesh(data, extension)
    shape = _load(data, extension)
    check("points", max(len(shape.vertices), len(getattr(shape, "faces", ()))), "the mesh")
    faces = getattr(shape, "faces", None)
    if faces is not None and len(faces):
        return sample_surface(np.asarray(shape.vertices, np.float64), np.asarray(faces), MESH_POINTS)
    stored = shape.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    if stored is None:
        return plain_array(shape.vertices)
    names = stored.dtype.names if isinstance(stored, np.ndarray) else tuple(stored)
    return plain_array(
        table_of({name: np.asarray(stored[name]).reshape(len(shape.vertices), -1)[:, 0] for name in names})
    )


def _check_mesh(data: bytes, extension: str) -> None:
    """Raise `DataError` for what would take too much, by the header, or by its length where all is words."""
    words = extension == "obj"
    if extension == "ply":
        header = data[:_HEADER].partition(b"end_header")[0]
        for line in header.splitlines():
            said = line.split()
            if said[:1] == [b"element"] and said[-1].isdigit():
                check("points", int(said[-1]), "the cloud")
        words = b"format ascii" in header
    elif extension == "stl":
        count = int.from_bytes(data[80:84], "little")
        words = len(data) != 84 + 50 * count
        check("points", 0 if words else 3 * count, "the mesh")
    if words:
        check("mesh", len(data), "the mesh in words")


def _load(data: bytes, extension: str) -> Any:
    """What trimesh makes of the bytes, several bodies joined, without materials: it follows no link to another file,
    and opens none of the pictures inside, which any plugin of Pillow would read."""
    try:
        import trimesh
    except ImportError as error:
        raise DataError(f".{extension} is read by the package trimesh: pip install 'pairalign[mesh]'.") from error
    try:
        told: dict[str, Any] = {"skip_materials": True} if extension in ("obj", "glb", "ply") else {}
        shape: Any = trimesh.load(io.BytesIO(data), file_type=extension, process=False, resolver=None, **told)
        shape = shape.to_geometry() if hasattr(shape, "geometry") else shape
        count = len(shape.vertices) if np.shape(shape.vertices)[1:] == (3,) else 0
    except Exception as error:  # trimesh raises a dozen kinds for damaged bytes
        raise DataError(f"the bytes are no valid {extension} ({len(data)} bytes: {error}).") from error
    if not count:
        raise DataError(f"the bytes are no valid {extension} ({len(data)} bytes: no vertices in it).")
    return shape
