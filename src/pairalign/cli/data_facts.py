"""What a user says of the modalities that are packed or indexed, as NAME=VALUE: unit, rate, axes, which axis is up."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.core.errors import DataError


def add_facts(parser: argparse.ArgumentParser) -> None:
    """Add the options to a verb that writes an index."""
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--unit", **many, metavar="MODALITY=UNIT", help="unit of a modality's values, e.g. force=N")
    parser.add_argument("--rate", **many, metavar="MODALITY=HZ", help="sampling rate; wav files state their own")
    parser.add_argument(
        "--axes", **many, metavar="MODALITY=AXIS,AXIS", help="what its axes are, e.g. points=point,xyzrgb"
    )
    parser.add_argument("--up", **many, metavar="MODALITY=AXIS", help="which axis of its clouds is up, e.g. points=+z")


def read_facts(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By modality what `add_facts` was told, as `pack_pairs` takes it."""
    found: dict[str, dict[str, Any]] = {}
    for fact in ("unit", "rate", "axes", "up"):
        for text in getattr(args, fact):
            name, _, value = text.partition("=")
            if not name or not value:
                raise DataError(f"--{fact} {text!r}: write it as MODALITY=VALUE.")
            found.setdefault(name, {})[fact] = _value(fact, value, f"--{fact} {text!r}")
    return found


def read_pair(text: str, option: str, *, default: bool = False) -> tuple[str, str]:
    """`name=value`; with `default`, `name` alone stands for `name=name`."""
    name, sign, value = text.partition("=")
    if not name or (sign and not value) or not (sign or default):
        raise DataError(f"{option} {text!r}: write it as NAME=VALUE.")
    return name, value if sign else name


def _value(fact: str, text: str, where: str) -> Any:
    if fact == "axes":
        return tuple(axis.strip() for axis in text.split(","))
    if fact != "rate":
        return text
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is no number.") from None
