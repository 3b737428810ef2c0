"""Encoder cards: a YAML file beside the encoder that says what its user must know before shipping it.

Every card has `licence`, `preprocessing` and `sources`; whatever else it states is shown as it stands.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from pairalign.core.errors import RegistryError

REQUIRED = ("licence", "preprocessing", "sources")


@cache
def load_card(package: str, name: str) -> dict[str, Any]:
    """The card `name`.yaml inside `package`; raise `RegistryError` where it is missing or lacks a required entry."""
    import yaml

    try:
        card: dict[str, Any] = yaml.safe_load(files(package).joinpath(f"{name}.yaml").read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RegistryError(f"card {name}.yaml of package {package!r} cannot be read: {error}") from error
    missing = [entry for entry in REQUIRED if not card.get(entry)]
    if missing:
        raise RegistryError(f"card {name}.yaml of package {package!r} lacks {', '.join(missing)}: add it.")
    return card
