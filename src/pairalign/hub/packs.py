"""A sensor pack by its folder or by its name on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.export.manifest import NAME, load_manifest
from pairalign.hub.place import Get, find_folder


def find_pack(place: str | Path, **options: Any) -> Path:
    """The folder of a pack; `ORG/NAME[@REVISION]` is fetched, its whole model only where the pack has nothing else.

    options: of `find_folder`, with its errors. Raise `PackError` where the manifest that was fetched is none.
    """
    return find_folder(place, _files, what="pack", **options)


def _files(get: Get) -> Iterator[str]:
    manifest = load_manifest(get(NAME).parent)
    yield from (name for name in manifest.files if manifest.whole or "/" not in name)
