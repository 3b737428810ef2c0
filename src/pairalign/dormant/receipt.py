"""A receipt: every weight of the base before and after, compared bit by bit.

    before = fingerprint_base(model)          # when the base was loaded
    ...train...
    write_receipt(model, before, "receipt.json")

A sensor's values lie beside the weights that it adapts and are never written into them, so that equal means that no
critical entry moved, and that taking the sensor away is exact.

Note:
    It says what did not change in the weights; whether behaviour stayed is for the evaluation to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pairalign.core.errors import DeltaError
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.dormant.quantised import stored_parts
from pairalign.files import write_json
from pairalign.sharding import whole


@dataclass(frozen=True)
class Receipt:
    """How many tensors and entries were compared, how many entries sensors own, and the tensors that differ."""

    tensors: int
    entries: int
    owned: dict[str, int]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether every weight of the base is there and unchanged."""
        return not (self.changed or self.missing or self.added)


def fingerprint_base(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, str]:
    """SHA-256 by name of every parameter and buffer of the base, without what sensors add.

    dtype: that the floating-point ones are yet to be converted to; `None` as they are.
    """
    tensors = ((name, t.to(dtype) if dtype and t.is_floating_point() else t) for name, t in _base_tensors(model))
    return {name: fingerprint(tensor) for name, tensor in tensors}


def check_base(model: nn.Module, before: Mapping[str, str]) -> Receipt:
    """Compare the base as it is now with its fingerprints from before."""
    sizes, now = {}, {}
    for name, tensor in _base_tensors(model):
        sizes[name], now[name] = tensor.numel(), fingerprint(tensor)
    owned: dict[str, int] = {}
    if isinstance(model, DormantModel):
        owned = {sensor: sum(mask.count for mask in model.masks(sensor).values()) for sensor in model.dormant}
    return Receipt(
        tensors=len(now),
        entries=sum(sizes.values()),
        owned=owned,
        changed=tuple(name for name in now if name in before and now[name] != before[name]),
        missing=tuple(name for name in before if name not in now),
        added=tuple(name for name in now if name not in before),
    )


def write_receipt(model: nn.Module, before: Mapping[str, str], path: str | Path) -> Receipt:
    """Write the comparison and every fingerprint as JSON; raise `DeltaError`, after writing, if a weight differs."""
    found, path = check_base(model, before), Path(path)
    write_json(path, {**asdict(found), "clean": found.clean, "sha256": dict(before)})
    if not found.clean:
        names = [*found.changed, *found.missing, *found.added]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise DeltaError(
            f"{path}: {len(names)} of the base's tensors are not what they were: {', '.join(names[:3])}{more}. "
            "Something else than the dormant weights was trained."
        )
    return found


def _base_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    base = model.base_model if isinstance(model, DormantModel) else model
    for name, tensor in base.state_dict(keep_vars=False).items():
        if ".updates." in f".{name}":
            continue
        for part, stored in stored_parts(tensor).items():
            yield f"{name}.{part}" if part else name, whole(stored)
