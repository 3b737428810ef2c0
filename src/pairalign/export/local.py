"""What of one machine must not leave it: paths. A pack names files and folders, not where they lay.

Note:
    Prompts and answers are left as they are, whatever they begin with. A base that is a folder is named by its folder's
    name, so that whoever asks has to say where theirs is; the one inside this package is found anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pairalign
from pairalign.core.errors import PackError
from pairalign.sensors.processor import PACKAGED

TEXTS = ("prompt", "answer")


def is_path(value: Any) -> bool:
    """Whether a value is text that leads to a place on one machine."""
    if not isinstance(value, str) or "\n" in value:
        return False
    return value.startswith("~") or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def without_paths(value: Any) -> Any:
    """Plain values in which every path is its last part."""
    if isinstance(value, Mapping):
        return {key: part if key in TEXTS else without_paths(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(part) for part in value]
    return PureWindowsPath(value).name if is_path(value) else value


def name_base(base: str) -> dict[str, str]:
    """A base's name for others, and whether they find it by that: "hub", "package", or a "folder" of their own."""
    folder = Path(base)
    if base.startswith(PACKAGED):
        return {"name": base, "source": "package"}
    if not folder.is_dir():
        return {"name": base, "source": "hub"}
    home = Path(pairalign.__file__).resolve().parent
    if folder.resolve().is_relative_to(home):
        return {"name": PACKAGED + folder.resolve().relative_to(home).as_posix(), "source": "package"}
    return {"name": folder.resolve().name, "source": "folder"}


def check_options(sensor: str, options: Mapping[str, Any]) -> None:
    """Raise `PackError` for an encoder that can only be built on this machine."""
    for name, value in options.items():
        if is_path(value):
            raise PackError(
                f"sensor {sensor!r}: its encoder's option {name}={value!r} is a place on this machine, and nobody else "
                "could build it: train stage one with a hub name, or a path relative to where it is used."
            )
