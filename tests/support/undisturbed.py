"""What differs between two folders, one of an undisturbed run and one of a run that was killed and called again.

Every file is compared: bytes; of JSON that holds a date or seconds, every other value; of checkpoints, every tensor and
every number.

Note:
    What `MAY_DIFFER` names is left out, for the reason beside it, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

MAY_DIFFER = {
    "identity.json": (("begun", "finished"), "dates of this run"),
    "results.json": (("base_from",), "when the base was measured, and that a run before this kill did it"),
    "metrics.json": (("seconds",), "how long an evaluation took"),
}  # by file, keys that are left out, and why
LOOPS = (
    "loops",
    "epoch",
)  # of checkpoints: Lightning's counters of what it fetched, which a run in parts has otherwise
LEFT = ".*.lock"  # a killed command's, which nobody holds; the next one that writes there takes it away
LATER = "last.ckpt"  # a run that was told to stop keeps the step that it stopped at, which may be a later one


def differences(whole: Path, cut: Path, *, but: tuple[str, ...] = ()) -> list[str]:
    """One line for everything in which two folders differ. but: names of files that are of the comparison, as logs."""
    one, other = ({str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()} - {*but} for f in (whole, cut))
    found = [f"{name} is missing" for name in sorted(one - other)]
    found += [f"{name} is too much" for name in sorted(other - one) if not Path(name).match(LEFT)]
    for name in sorted(one & other):
        found += [f"{name}: {line}" for line in _differ(whole / name, cut / name)]
    return found


def _differ(one: Path, other: Path) -> Iterator[str]:
    if one.name in MAY_DIFFER:
        yield from unequal(*(_told(path) for path in (one, other)))
    elif one.match("cache/base-*.safetensors"):  # its header says when and by which run
        yield from unequal(load_file(one), load_file(other))
    elif one.name == "metrics.jsonl":
        yield from unequal(*(path.read_text().splitlines(keepends=True) for path in (one, other)))
    elif one.name == LATER:
        kept = [torch.load(path, weights_only=True) for path in (one, other)]
        if kept[0]["global_step"] == kept[1]["global_step"]:
            yield from unequal(*(_kept(one) for one in kept))
    elif one.read_bytes() != other.read_bytes():
        yield f"other bytes, {one.stat().st_size} and {other.stat().st_size} of them"


def _kept(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Without Lightning's loops, and without where the base's figures are from, as of results.json."""
    watch = checkpoint.get("callbacks", {}).get("Watch", {})
    watch.pop("taken", None)
    return {key: value for key, value in checkpoint.items() if key not in LOOPS}


def _told(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    return {key: value for key, value in found.items() if key not in MAY_DIFFER[path.name][0]}


def unequal(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """A line for each value in which two nested structures differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if key in one and key in other:
                yield from unequal(one[key], other[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is on one side alone"
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{where} has {len(one)} and {len(other)} entries"
        for n, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from unequal(a, b, f"{where}.{n}")
    elif not (torch.equal(one, other) if torch.is_tensor(one) and torch.is_tensor(other) else one == other):
        yield f"{where or 'all'} differs"
