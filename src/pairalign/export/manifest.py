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

FORMAT = 2  # 1 had neither plugins nor merged weights
READ = (1, 2)
NAME = "manifest.json"
MERGED = "merged"


@dataclass(frozen=True)
class Manifest(Strict):
    """senses: recipe by sensor name. signals: what each sensor measures. base: name and fingerprint of the model that
    the pack was made for, and its source: "hub", "package", or a "folder" that has this name. delta: whether it holds
    one. method: that the run was trained with. merged: SHA-256 by name of the weights in `merged/` that are not the
    base's. plugins: names of files or modules that register encoders. code: SHA-256 of each sensor's encoder, or of
    its plugin file. licences, temperature (logit scale by edge of stage one), figures and provenance are for people.
    files: SHA-256 by name.
    """

    format: int
    senses: dict[str, SenseRecipe]
    signals: dict[str, dict[str, Any]]
    base: dict[str, str]
    delta: str | None
    method: str = "dormant"
    merged: dict[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    code: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    temperature: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the pack goes with its own merged model alone."""
        return bool(self.merged) and self.delta is None


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
    if found not in READ:
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


def find_base(pack: str | Path, given: str | None = None) -> str:
    """What `load_sensor_model` is to be given for a pack: what the user names, else what the pack was made for.

    Raise `PackError` where that was a folder, and none of that name is here.
    """
    manifest = read_manifest(pack)
    if given is not None:
        return given
    if manifest.whole:
        return str(Path(pack) / MERGED)
    name = manifest.base["name"]
    if manifest.base.get("source") == "folder" and not Path(name).is_dir():
        raise PackError(
            f"pack {str(pack)!r} was made for a base in a folder {name!r} ({manifest.base['class']} in "
            f"{manifest.base['dtype']}): say where that is with --base FOLDER, or go to where it lies."
        )
    return name
