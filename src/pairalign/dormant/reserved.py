"""Weights that other packs own, which what is chosen now leaves to them.

    reserved = read_reserved(base, ["packs/touch"])
    model = pa.get_dormant_model(base, config, calibration, sensor="points", reserved=reserved)

Packs that act from their sensor on may own the same weights and still be installed together; a merged model has one
value for each, and weights that act everywhere meet at every token: those need weights of their own.

Note:
    Packs are read against the base, every weight that they change is hashed. What the settings ask for may not be had
    beside them, such as whole columns beside whole rows: that is refused, never given in part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pairalign.core.errors import DeltaError, DormantError
from pairalign.dormant.checkpoint import CONFIG, WEIGHTS, load_places, read_sensor
from pairalign.dormant.selection.mask import Mask
from pairalign.files import sha256_file

Parts = Mapping[str, Mask | Tensor]


@dataclass(frozen=True)
class Reserved:
    """owned: what each sensor's delta trains, masks or bases (in, r) of directions, by module name. sha256: of the
    files that it was read from."""

    owned: Mapping[str, Parts]
    sha256: str

    def entries(self, name: str, device: torch.device) -> list[Tensor]:
        """What is owned of a weight, bool (out, in) each."""
        found = (parts[name] for parts in self.owned.values() if name in parts)
        return [part.bitmap().to(device) for part in found if isinstance(part, Mask)]

    def bases(self, name: str, device: torch.device) -> list[Tensor]:
        """The directions that are owned of a weight's inputs, (in, r) each."""
        found = (parts[name] for parts in self.owned.values() if name in parts)
        return [part.to(device) for part in found if isinstance(part, Tensor)]

    def check(self, chosen: Parts) -> None:
        """Raise `DormantError` where what was chosen is owned already."""
        for sensor, parts in self.owned.items():
            for name, part in chosen.items():
                other = parts.get(name)
                if not isinstance(part, Mask) or not isinstance(other, Mask):
                    continue
                if shared := int((part.bitmap().cpu() & other.bitmap().cpu()).sum()):
                    raise DormantError(
                        f"installed: {sensor!r} owns {shared} weights of {name} that these settings would take too, as "
                        f"too few others are left: lower density, choose the structure {sensor!r} has, or name other "
                        "target_modules."
                    )


def read_reserved(base: nn.Module, folders: Sequence[str | Path], dtype: torch.dtype | None = None) -> Reserved | None:
    """What the deltas in some folders, such as sensor packs, own of a base, which is left as it is; `None` of none.

    dtype: that the base's weights are yet to be converted to; `None` as they are.
    Raise `DeltaError` for a delta of another base.
    """
    found = {}
    for folder in folders:
        try:
            found[read_sensor(Path(folder))] = load_places(base, Path(folder), dtype)[0]
        except DeltaError as error:
            raise DeltaError(f"installed: {str(folder)!r}: {error}") from error
    return Reserved(found, deltas_hash(folders)) if found else None


def deltas_hash(folders: Sequence[str | Path]) -> str:
    """SHA-256 over the files of some deltas."""
    files = [sha256_file(Path(folder) / file) for folder in folders for file in (CONFIG, WEIGHTS)]
    return hashlib.sha256("".join(files).encode()).hexdigest()
