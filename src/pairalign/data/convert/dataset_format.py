"""What a dataset format is: how a data set lies on disk, what its signals are, and a generator of its samples.

Its file registers one function, `read(folder, skip, **options) -> samples`, as dicts for `pack_pairs`. Values
are paths (stored byte for byte) or `Made` (worked on in the process that writes).

Note:
    `read` only lists; it opens tables and never an image, runs in a fixed order, and says by `skip(key, reason)` what
    it leaves out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pairalign.core.earlier import earlier, earlier_fields
from pairalign.core.errors import DataError
from pairalign.core.lazy import LazyEntries
from pairalign.core.parameters import Parameters, check_values, settings_of

MODULES = {
    "hub": "hub",
    "modelnet40": "modelnet",
    "objaverse": "objaverse",
    "physiclear": "physiclear",
    "scanobjectnn": "scanobjectnn",
    "shapenet": "shapenet",
    "tacquad": "tacquad",
    "touch-and-go": "touch_and_go",
    "touch100k": "touch100k",
    "tvl": "tvl",
}
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}

Listing = Iterator[dict[str, Any]]


class Skip(Protocol):
    """Called with a key and a reason for everything that is left out; the reason starts with what it is about."""

    def __call__(self, key: str, reason: str, /) -> None: ...

    def suspect(self, message: str, /) -> None:
        """Report something that looks wrong, and is converted all the same."""


@earlier_fields(division="split_set")
@dataclass(frozen=True)
class DatasetFormat:
    """One data set's form on disk.

    title: what it is, one line. source: where it is published. licence: what its publishers say of its use.
    marks: glob patterns under the folder, "this|or that", all of which such a data set matches. No "**": folders are
        large.
    facts: by modality, what the index records: "sensor", "unit", "rate" (Hz), "axes", "up".
    whole: meta field ("session", "group") whose samples must not be torn apart, and split_set: the name of the
        splits that keep them whole ("by_trajectory"), `None` where the data do not tell. shares: of these splits.
    read: function(folder, skip, **options) -> samples. Its keyword options, with defaults, are those of the format.
    """

    name: str
    title: str
    source: str
    licence: str
    marks: tuple[str, ...]
    read: Callable[..., Listing]
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    whole: str = "group"
    split_set: str | None = "by_object"
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)

    @property
    def owner(self) -> str:
        """The module that registered it."""
        return self.read.__module__

    @property
    def parameters(self) -> Parameters:
        """Parameter by option."""
        return settings_of(self.read, 2)

    @property
    def options(self) -> dict[str, Any]:
        """Default by option."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def missing(self, folder: Path) -> list[str]:
        """Marks that the folder lacks."""
        return [mark for mark in self.marks if first_match(folder, mark) is None]


def first_match(folder: Path, patterns: str) -> Path | None:
    """The first path, by name, that the first fitting one of `patterns` ("this|or that") finds under the folder."""
    for pattern in patterns.split("|"):
        found = min(folder.glob(pattern), default=None)
        if found is not None:
            return found
    return None


def present(files: dict[str, Path], home: Path, key: str, skip: Skip) -> dict[str, Path]:
    """The files of a sample by modality, or nothing if one is missing, and then said."""
    for modality, path in files.items():
        if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(home)):
            skip(key, f"unsafe name of the {modality} file: it leaves the folder")
            return {}
        if not path.is_file():
            skip(key, f"missing {modality} file: {path.relative_to(home)}")
            return {}
    return files


_FORMATS: LazyEntries[DatasetFormat] = LazyEntries("dataset format", "pairalign.data.convert", MODULES, DataError)


def register_format(name: str, **facts: Any) -> Callable[[Callable[..., Listing]], Callable[..., Listing]]:
    """Register the decorated function as the `read` of a format; `facts` are the other fields of `DatasetFormat`."""

    def register(read: Callable[..., Listing]) -> Callable[..., Listing]:
        _FORMATS.add(name, DatasetFormat(name=name, read=read, **facts))
        return read

    return register


def find_format(name: str) -> DatasetFormat:
    """The format of that name; raise `DataError` with the nearest one."""
    return _FORMATS.find(name)


def known_formats() -> dict[str, DatasetFormat]:
    """Every format by name, sorted."""
    return _FORMATS.every()


def check_folder(form: DatasetFormat, folder: Path) -> None:
    """Raise `DataError` unless the folder looks like the format; say which other one it looks like."""
    if not folder.is_dir():
        raise DataError(f"folder {str(folder)!r} does not exist: give the folder of {form.title}.")
    missing = form.missing(folder)
    if not missing:
        return
    others = [name for name, other in known_formats().items() if name != form.name and not other.missing(folder)]
    alike = f" This looks like {' or '.join(others)}: `pairalign data convert {others[0]} …`." if others else ""
    wanted = ", ".join(mark.replace("|", " or ") for mark in missing)
    raise DataError(f"folder {str(folder)!r} is no {form.name}: it lacks {wanted}.{alike}")


def check_options(form: DatasetFormat, options: Mapping[str, Any]) -> None:
    """Raise `DataError` for an option that the format does not have, or a value of another type than it takes."""
    check_values(form.parameters, options, "option", f"dataset format {form.name!r}", DataError)


Layout = DatasetFormat  # earlier name
register_layout = earlier(register_format, "register_layout")  # earlier name
find_layout = earlier(find_format, "find_layout")  # earlier name
known_layouts = earlier(known_formats, "known_layouts")  # earlier name
