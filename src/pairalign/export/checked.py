"""What a stranger's pack may say: its names, which of its files are hashed, and what its encoders are built with.

Note:
    Every file that is read is named and hashed, those of `merged/` too, and no file is read that is not plain weights
    or words. A hash says that a pack is what its maker wrote, not who that was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pairalign.align.model import build_head
from pairalign.core.errors import PackError
from pairalign.core.names import SENSOR
from pairalign.core.registry import create_encoder
from pairalign.files import sha256_file, stays_inside
from pairalign.hub.place import in_cache
from pairalign.sensors.processor import PACKAGED
from pairalign.sensors.sensor import SensorRecipe

FILE = re.compile(r"(merged/(additional_chat_templates/)?)?\w[\w.-]*\.(safetensors|json|jinja|md|txt|model)")
HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
BASE = ("name", "class", "dtype", "embedding")


def check_names(sensors: Mapping[str, SensorRecipe], delta: str | None, base: Mapping[str, str], where: str) -> None:
    """Raise `PackError` for a sensor that cannot be called so, a delta of other sensors, and a base that is no name."""
    for name in sensors:
        if (fix := SENSOR.fault(name)) is not None:
            raise PackError(f"{where} names a sensor {name!r}: {fix}.")
    if not sensors:
        raise PackError(f"{where} names no sensor: copy the pack again.")
    if delta is not None and sorted(delta.split("+")) != sorted(sensors):
        raise PackError(
            f"{where} names a delta {delta!r}, which is not that of {', '.join(sensors)}: take another pack."
        )
    missing = [part for part in BASE if not isinstance(base.get(part), str)]
    if missing:
        raise PackError(f"{where} does not say the base's {', '.join(missing)}: copy the pack again.")
    name, dtype = base["name"].removeprefix(PACKAGED), base["dtype"]
    if not (HUB.fullmatch(name) if name == base["name"] else re.fullmatch(r"\w+(/\w+)*", name)):
        raise PackError(f"{where} names a base {base['name']!r}, which is no name: take a pack that you trust.")
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise PackError(f"{where} names a base of dtype {dtype!r}, which torch has not: copy the pack again.")


def check_named(files: Mapping[str, str], needed: Sequence[str], where: str) -> None:
    """Raise `PackError` where a file that is read has no hash, or a name is no plain one of the pack's own folder."""
    for name in files:
        if not FILE.fullmatch(name):
            raise PackError(f"{where} names a file {name!r}: a pack holds weights and words, each under a plain name.")
    for name in needed:
        if name not in files:
            raise PackError(f"{where} has no hash of {name}, so nobody can tell whether it was changed: copy it again.")


def check_hashes(folder: Path, files: Mapping[str, str]) -> None:
    """Raise `PackError` for a file that is missing, is another one, or lies elsewhere."""
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise PackError(f"{file} is missing: copy the pack again.")
        if not stays_inside(file, folder) and not in_cache(file, folder):
            raise PackError(f"{file} is a link that leaves the pack: copy what it leads to.")
        if sha256_file(file) != expected:
            raise PackError(f"{file} is not what was written: copy the pack again.")


def check_merged(folder: Path, merged: str, files: Mapping[str, str], path: Path) -> None:
    """Raise `PackError` unless every file of the whole model in a pack is named and is what was written."""
    if not (folder / merged).is_dir():
        raise PackError(f"{folder / merged} is missing: copy the pack again.")
    found = sorted(file.relative_to(folder).as_posix() for file in (folder / merged).rglob("*") if not file.is_dir())
    if unnamed := [name for name in found if name not in files]:
        raise PackError(
            f"{path} has no hash of {unnamed[0]}: export the pack again, or, if you trust that model, name it "
            f"yourself with --base {folder / merged}."
        )
    check_hashes(folder, {name: sha for name, sha in files.items() if name.startswith(f"{merged}/")})


def check_recipe(sensor: str, recipe: SensorRecipe, stored: Mapping[str, torch.Tensor], where: str) -> None:
    """Raise `PackError` for an encoder that would read a place of this machine, or takes more than the pack's weights.

    Its sizes are compared before it is built, on a device without memory; one that cannot be built there, as a tower
    that is loaded by its name, is built as it is.
    """
    for value in _texts(recipe.options):
        if value.startswith("~") or Path(value).is_absolute() or ".." in Path(value).parts or "\\" in value:
            raise PackError(
                f"{where}: the encoder of {sensor!r} would read {value!r} of this machine: take another pack."
            )
    most = sum(tensor.numel() for tensor in stored.values())
    sizes = (recipe.tokens, recipe.latent.shared, recipe.latent.private, recipe.latent.hidden)
    told = {part: list(stored[key].shape) for part in ("mean", "map", "gate") if (key := f"bridge.{part}") in stored}
    same = {part: list(size) for part, size in recipe.sizes.items() if part != "length"}
    length = recipe.sizes.get("length", [0])
    whole = recipe.bridge != "recomposition" or (told == same and len(length) == 1 and 0 < length[0] <= most)
    if whole and max(sizes) <= most and min(sizes) >= 0:
        try:
            with torch.device("meta"):
                encoder = create_encoder(recipe.encoder, **recipe.options)
                parts = (encoder, build_head(encoder, recipe.latent, recipe.head, recipe.encoder))
        except Exception:
            return
        if sum(tensor.numel() for part in parts for tensor in part.state_dict().values()) <= most:
            return
    raise PackError(f"{where}: the sizes of {sensor!r} are not those of its weights: copy the pack again.")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)
