"""`manifest.json` of a sensor pack: what it is, what it needs, and the SHA-256 of every other file.

Where it bites: a pack holds weights and text, never code; an encoder that is not registered here has to be named with
its plugin before the pack can be installed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.config import Strict, load_config, to_dict
from pairalign.core.errors import ConfigError, PackError
from pairalign.files import sha256_file, write_json
from pairalign.sensors.sensor import SenseRecipe

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest(Strict):
    """senses: recipe by sensor name. signals: what each sensor measures. base: name and fingerprint of the model that
    the pack was made for. delta: whether it holds one. licences, temperature (logit scale by edge of stage one),
    figures and provenance are for people. files: SHA-256 by name.
    """

    format: int
    senses: dict[str, SenseRecipe]
    signals: dict[str, dict[str, Any]]
    base: dict[str, str]
    delta: str | None
    licences: dict[str, str] = field(default_factory=dict)
    temperature: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write it, last of all files."""
    write_json(folder / NAME, to_dict(manifest))


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check a pack's manifest and the hashes of its files; raise `PackError`."""
    path = Path(folder) / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values["format"]
    except FileNotFoundError as error:
        raise PackError(f"pack {str(folder)!r} has no {NAME}: give a folder that `pairalign export` wrote.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is damaged ({error!r}): copy the pack again.") from error
    if found != FORMAT:
        raise PackError(f"{path} has format {found!r}, this version reads {FORMAT}: install a newer pairalign.")
    try:
        manifest = load_config(Manifest, values)
    except ConfigError as error:
        raise PackError(f"{path} is damaged: {error}") from error
    for name, expected in manifest.files.items():
        file = Path(folder) / name
        if not file.is_file() or sha256_file(file) != expected:
            what = "is missing" if not file.is_file() else "is not what was written"
            raise PackError(f"{file} {what}: copy the pack again.")
    return manifest
