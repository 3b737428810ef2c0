"""What a checkpoint of either stage says of its run, held against the run that is to go on from it.

Note:
    Lightning reads the weights itself; this reads the record beside them, which each stage writes in its
    `on_save_checkpoint`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pairalign.core.config import load_config, to_dict
from pairalign.core.errors import CheckpointError, PairalignError
from pairalign.core.record import as_record
from pairalign.runs.identity import check_same, differing_settings


@dataclass(frozen=True)
class _Record:
    """What both stages write, by type; the rest is each stage's own."""

    config: dict[str, Any]
    batches: int
    ranks: list[dict[str, Any]] = field(default_factory=list)
    processes: int = 1


def read_checkpoint(path: Path, config: Any, world: int) -> dict[str, Any]:
    """The record of a checkpoint that a run of `config` in `world` processes may go on from.

    Raises `CheckpointError` if it is damaged or was written by another number of processes, `IdentityError` if it is of
    another configuration.
    """
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["pairalign"]
        as_record(record, _Record)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"checkpoint {str(path)!r} is damaged ({type(error).__name__}): delete it, or pass --fresh."
        ) from error
    check_same(_filled(record["config"], config), to_dict(config), path)
    processes = len(record["ranks"]) if "ranks" in record else record.get("processes", 1)
    if processes != world:
        raise CheckpointError(
            f"checkpoint {str(path)!r} was written by {processes} processes, now there are {world}: resume with as "
            "many, or pass --fresh."
        )
    return record


def _filled(found: dict[str, Any], config: Any) -> dict[str, Any]:
    """Settings, with the defaults of those that an earlier version did not have, where that makes a difference."""
    if not differing_settings(found, to_dict(config)):
        return found
    try:
        return to_dict(load_config(type(config), found))
    except PairalignError:
        return found
