"""Encoder cards: a YAML file beside the encoder that says what its user must know before shipping it.

Every card has `licence`, `preprocessing` and `sources`; whatever else it states is shown as it stands.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from pairalign.core.errors import RegistryError
from pairalign.core.notation import parse_yaml

REQUIRED = ("licence", "preprocessing", "sources")


@cache
def load_card(package: str, name: str) -> dict[str, Any]:
    """The card `name`.yaml inside `package`; raise `RegistryError` where it is missing or lacks a required entry."""
    try:
        card: Any = parse_yaml(files(package).joinpath(f"{name}.yaml").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RegistryError(f"card {name}.yaml of package {package!r} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise RegistryError(f"card {name}.yaml of package {package!r} holds no entries: write licence: …, and so on.")
    missing = [entry for entry in REQUIRED if not card.get(entry)]
    if missing:
        raise RegistryError(f"card {name}.yaml of package {package!r} lacks {', '.join(missing)}: add it.")
    return dict(card)
