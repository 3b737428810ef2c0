"""What a probe sees of a signal, drawn or true: plain numbers of it, and the run's own encoder's features.

A decoder draws coarsely (24 pixels a side, 256 points). A probe that was trained on sharp pictures would read the blur
and nothing else, so every sample, true ones too, is first brought to what the decoder could draw.

Note:
    What is too fine for that size cannot be read from anything then, and the column of the true samples shows it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.align.reconstruct import Decoder, build_decoder, default_kind
from pairalign.align.reconstruct.patches import PatchDecoder
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError

CELLS = 8  # of the box of a cloud, along each side
LONGEST = 2048  # numbers of a series that a probe sees


class Look:
    """Brings signals of one encoder, (B, …) as `Encoder.collate` makes them, to what is seen of them.

    coarse: at the size that the decoder draws; else as they are.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder | None, coarse: bool) -> None:
        self.encoder, self.coarse = encoder, coarse
        self.plain = decoder or _plain_decoder(encoder)
        sizes = encoder.signal.shape
        self.fixed = None not in sizes and encoder.signal.kind in ("image", "series", "vector")

    def value(self, batch: Any) -> Tensor:
        """The batch as it is drawn: (B, *signal.shape), of a cloud (B, points, 3)."""
        numbers = self.encoder.as_float(batch).float()
        if self.plain is None or not self.coarse:
            return numbers
        return self.plain.restore(self.plain.target(numbers))

    @torch.no_grad()
    def features(self, drawn: Tensor, pooled: Tensor | None = None) -> dict[str, Tensor]:
        """What both probes see of signals that `value` made or a decoder drew, each (B, D) on the CPU.

        pooled: the encoder's features of them, where they are known and nothing is coarse.
        """
        found = {"numbers": self._numbers(drawn).cpu()}
        if pooled is not None and not self.coarse:
            found["encoder"] = pooled.float().cpu()
        elif self.fixed:  # a drawn cloud lacks normals, and is no batch of its encoder's
            found["encoder"] = self.encoder(drawn).pooled.float().cpu()
        return found

    def _numbers(self, drawn: Tensor) -> Tensor:
        if self.encoder.signal.kind == "points":
            return occupancy(drawn[..., :3])
        if isinstance(self.plain, PatchDecoder):
            seen = self.plain.target(drawn)[..., : self.plain.parts[0]].flatten(1)
            return seen if seen.shape[1] <= LONGEST else F.adaptive_avg_pool1d(seen[:, None], LONGEST)[:, 0]
        return drawn.flatten(1)


def occupancy(points: Tensor) -> Tensor:
    """Share of each cloud (B, P, 3) in each of CELLS³ cells of the box from -1 to 1 times its own largest radius, and
    that radius: (B, CELLS³ + 1)."""
    centred = points - points.mean(1, keepdim=True)
    radius = centred.norm(dim=2).amax(1).clamp(min=1e-9)
    cell = ((centred / radius[:, None, None] + 1) / 2 * CELLS).long().clamp(0, CELLS - 1)
    place = (cell * torch.tensor([CELLS * CELLS, CELLS, 1], device=cell.device)).sum(2)
    counts = torch.zeros(len(points), CELLS**3, device=points.device)
    counts.scatter_add_(1, place, torch.ones_like(place, dtype=counts.dtype))
    return torch.cat([counts / points.shape[1], radius.log()[:, None]], dim=1)


def components(train: Tensor, *others: Tensor, most: int = 96) -> list[Tensor]:
    """All in the first principal directions of `train` (N, D): as many as `most`, or a quarter of its samples."""
    mean = train.double().mean(0)
    _, _, directions = torch.linalg.svd(train.double() - mean, full_matrices=False)
    basis = directions[: max(1, min(most, len(train) // 4))].T
    return [(x.double() - mean) @ basis for x in (train, *others)]


def _plain_decoder(encoder: Encoder) -> Decoder | None:
    """A decoder of the signal's kind, for its sizes alone."""
    if encoder.signal.kind in ("text", "vector"):
        return None
    try:
        with torch.random.fork_rng(devices=()):
            return build_decoder(default_kind(encoder.signal, False), encoder.signal, 1).eval()
    except ConfigError:  # of free sizes
        return None
