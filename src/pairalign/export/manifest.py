"""`manifest.json` of a sensor pack: what it is, what it needs, and the SHA-256 of every other file.

Note:
    A pack holds weights and text, never code; an encoder that is not registered here has to be named with its plugin
    before the pack can be installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.config import Strict, load_config, to_dict
from pairalign.core.errors import ConfigError, DataError, PackError
from pairalign.core.limits import parse_json, read_bytes
from pairalign.dormant.checkpoint import CONFIG, WEIGHTS
from pairalign.export.checked import check_hashes, check_merged, check_named, check_names
from pairalign.files import write_json
from pairalign.sensors.sensor import SensorRecipe

FORMAT = 3  # 1 had neither plugins nor merged weights, 2 no hashes of the files in merged/
READ = (1, 2, 3)
NAME = "manifest.json"
SENSORS = "sense.safetensors"
MERGED = "merged"


@dataclass(frozen=True)
class Manifest(Strict):
    """senses: recipe by sensor name, `sensors` in Python. signals: what each sensor measures. base: name and
    fingerprint of the model that the pack was made for, and its source: "hub", "package", or a "folder" that has
    this name. delta: whether it holds one. method: that the run was trained with. merged: SHA-256 by name of the
    weights in `merged/` that are not the base's. plugins: names of files or modules that register encoders. code:
    SHA-256 of each sensor's encoder, or of its plugin file. licences, temperature (logit scale by edge of stage
    one), figures and provenance are for people. files: SHA-256 by name.
    """

    format: int
    senses: dict[str, SensorRecipe]
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
    def sensors(self) -> dict[str, SensorRecipe]:
        """`senses`, as manifest.json calls them."""
        return self.senses

    @property
    def whole(self) -> bool:
        """Whether the pack goes with its own merged model alone."""
        return bool(self.merged) and self.delta is None


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write it, last of all files."""
    write_json(folder / NAME, to_dict(manifest))


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check a pack's manifest and the hashes of its files, those in merged/ aside; raise `PackError`."""
    manifest = load_manifest(Path(folder))
    check_hashes(Path(folder), {name: sha for name, sha in manifest.files.items() if "/" not in name})
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """A pack's manifest, checked, without a look at the files that it names; raise `PackError`."""
    path = folder / NAME
    try:
        values = parse_json(read_bytes(path, "text"))
        found = values["format"]
    except FileNotFoundError as error:
        raise PackError(f"pack {str(folder)!r} has no {NAME}: give a folder that `pairalign export` wrote.") from error
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise PackError(f"{path} is damaged ({error!r}): copy the pack again.") from error
    if found not in READ:
        raise PackError(f"{path} has format {found!r}, this version reads {FORMAT}: install a newer pairalign.")
    try:
        manifest = load_config(Manifest, values)
    except ConfigError as error:
        raise PackError(f"{path} is damaged: {error}") from error
    check_names(manifest.sensors, manifest.delta, manifest.base, str(path))
    delta = (CONFIG, WEIGHTS) if manifest.delta is not None else ()
    check_named(manifest.files, (SENSORS, *delta), str(path))
    return manifest


def find_base(pack: str | Path, given: str | None = None, *, trust_remote_code: bool = False) -> str:
    """What `load_sensor_model` is to be given for a pack: what the user names, else what the pack was made for.

    Raise `PackError` where that was a folder, and none of that name is here; and with `trust_remote_code`, which runs
    the code of a base that the user names, never of one that a pack does.
    """
    manifest = read_manifest(pack)
    if given is not None:
        return given
    if trust_remote_code:
        named = MERGED if manifest.whole else manifest.base["name"]
        raise PackError(
            f"pack {str(pack)!r} names the base {named!r}, whose code you have not named: with trust_remote_code "
            "(--trust-remote-code) say the base yourself, --base NAME."
        )
    if manifest.whole:
        check_merged(Path(pack), MERGED, manifest.files, Path(pack) / NAME)
        return str(Path(pack) / MERGED)
    name = manifest.base["name"]
    if manifest.base.get("source") == "folder" and not Path(name).is_dir():
        raise PackError(
            f"pack {str(pack)!r} was made for a base in a folder {name!r} ({manifest.base['class']} in "
            f"{manifest.base['dtype']}): say where that is with --base FOLDER, or go to where it lies."
        )
    return name
