"""Where the chosen entries of a matrix lie, in as few bytes as they need.

Two codes, whichever is shorter: a bitmap, 1 bit for every entry; or gaps, 1 byte for every chosen one: a byte b < 255
skips b entries and chooses the next, 255 skips 255. Gaps win below a density of about 1/8, and are also read faster.

Note:
    Reading makes int64 positions, 8 bytes a chosen entry, for as long as they are used.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Code = Literal["bits", "gaps"]
SKIP = 255


def encode_places(chosen: Tensor) -> tuple[Code, Tensor]:
    """The shorter code of a bool tensor, uint8."""
    gaps = _encode_gaps(chosen.flatten())
    if len(gaps) < chosen.numel() / 8:
        return "gaps", gaps
    return "bits", _encode_bits(chosen.flatten())


def decode_places(code: Code, stored: Tensor) -> Tensor:
    """Positions of the chosen entries in the flat tensor, int64, ascending."""
    if code == "bits":
        return stored[:, None].bitwise_and(_powers(stored.device)).flatten().nonzero()[:, 0]
    skips = stored == SKIP
    ends = (stored.to(torch.int32) + ~skips).cumsum(0)
    return ends[~skips] - 1 if bool(skips.any()) else ends - 1


def _encode_bits(flat: Tensor) -> Tensor:
    bits = F.pad(flat.to(torch.uint8), (0, -len(flat) % 8)).view(-1, 8)
    return (bits * _powers(flat.device)).sum(1, dtype=torch.uint8)


def _encode_gaps(flat: Tensor) -> Tensor:
    places = flat.nonzero()[:, 0]
    before = torch.cat([places.new_full((1,), -1), places[:-1]])
    passed = places - before - 1
    skips = passed // SKIP
    stored = torch.full((int(skips.sum()) + len(places),), SKIP, dtype=torch.uint8, device=flat.device)
    stored[(skips + 1).cumsum(0) - 1] = (passed % SKIP).to(torch.uint8)
    return stored


def _powers(device: torch.device) -> Tensor:
    return 1 << torch.arange(8, dtype=torch.uint8, device=device)
