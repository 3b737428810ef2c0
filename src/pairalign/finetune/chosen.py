"""What a run has chosen to train, kept in its folder until it has finished: to resume it, nothing is scored again.

Where it bites: it is taken up for the same settings, score file and calibration inputs alone, and for the same base,
whose every adapted weight is compared; anything else is chosen anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from pairalign.dormant.model import DormantModel
from pairalign.files import remove, write_json

FOLDER, RECORD = "chosen", "made_from.json"  # the record is written last


def load_chosen(folder: Path, key: str, llm: nn.Module) -> DormantModel | None:
    """The base with what was chosen by `key`, as it was before its first step; None where that is not there."""
    try:
        known = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return DormantModel.from_pretrained(llm, folder, trainable=True) if known == {"key": key} else None


def keep_chosen(folder: Path, key: str, model: DormantModel) -> None:
    """Write what was chosen, unless it is there; call it before the first step."""
    if (folder / RECORD).exists() and json.loads((folder / RECORD).read_text(encoding="utf-8")) == {"key": key}:
        return
    remove(folder / RECORD)
    model.save_pretrained(folder)
    write_json(folder / RECORD, {"key": key})
