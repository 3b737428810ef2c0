"""Moving files of a folder into a new one beside it, called `FOLDER.old-N`, so that a kill in between loses none.

Note:
    Files are gathered in `half_aside` and the folder gets its name once everything is in it; a later call goes on with
    what it finds there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path


def half_aside(folder: Path) -> Path:
    """Where files of a folder are while they are set aside."""
    home = Path(os.path.abspath(folder))
    return home.with_name(f".{home.name}.old-begun")


def move_aside(folder: Path, names: Sequence[Path]) -> Path | None:
    """Move files and folders, in this order, into a new folder and return that; None where there is nothing to move."""
    begun = half_aside(folder)
    if not names and not begun.exists():
        return None
    for name in names:
        (begun / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / name, begun / name)
    _remove_empty(folder, [path.relative_to(begun) for path in begun.rglob("*")])
    home, number = Path(os.path.abspath(folder)), 1
    while (aside := home.with_name(f"{home.name}.old-{number}")).exists():
        number += 1
    shutil.move(begun, aside)
    return aside


def _remove_empty(home: Path, names: Sequence[Path]) -> None:
    """Remove folders that held nothing but what was moved."""
    for folder in sorted({parent for name in names for parent in name.parents}, reverse=True):
        if folder != Path() and (home / folder).is_dir() and not any((home / folder).iterdir()):
            (home / folder).rmdir()
