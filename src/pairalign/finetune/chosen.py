"""What a run has chosen to train, kept in its folder until it has finished: to resume it, nothing is scored again.

Beside it lies what the base answered, where no cache has it (`pairalign.finetune.base_cache`).

Note:
    It is taken up for the same settings, score file and calibration inputs alone, and for the same base, whose every
    adapted weight is compared; anything else is chosen anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pairalign.core.limits import parse_json
from pairalign.dormant.checkpoint import delta_parts
from pairalign.dormant.checkpoint import load_places as read_places
from pairalign.dormant.model import DormantModel
from pairalign.dormant.selection.mask import Mask
from pairalign.files import remove, write_json
from pairalign.runtime import Runtime

FOLDER, RECORD = "chosen", "made_from.json"  # the record is written last


class Places(NamedTuple):
    """Masks or bases of directions by module name, and what they were chosen by, as `origin_of` tells it."""

    parts: dict[str, Mask | Tensor]
    origin: dict[str, Any]


def is_kept(folder: Path, key: str) -> bool:
    """Whether what was chosen by `key` is there."""
    try:
        return bool(parse_json((folder / RECORD).read_bytes()) == {"key": key})
    except (OSError, ValueError):
        return False


def load_chosen(folder: Path, key: str, llm: nn.Module) -> DormantModel | None:
    """The base with what was chosen by `key`, as it was before its first step; None where that is not there."""
    return DormantModel.from_pretrained(llm, folder, trainable=True) if is_kept(folder, key) else None


def load_places(folder: Path, key: str, llm: nn.Module, dtype: torch.dtype | None, runtime: Runtime) -> Places | None:
    """The same for a base that is yet to be converted to `dtype` and shared out; None unless every process finds it."""
    found = Places(*read_places(llm, folder, dtype)) if is_kept(folder, key) else None
    return found if all(runtime.all_gather_object(found is not None)) else None


def keep_chosen(folder: Path, key: str, model: DormantModel, runtime: Runtime) -> None:
    """Write what was chosen, unless it is there; every process calls it before the first step."""
    if runtime.main_only(lambda: is_kept(folder, key)):
        return
    if runtime.main:
        remove(folder / RECORD)
        model.save_pretrained(folder)
        write_json(folder / RECORD, {"key": key})
    elif any(isinstance(p, DTensor) for p in model.parameters()):
        for sensor in model.dormant:  # weights in parts are read by all processes together
            delta_parts(model, sensor)
