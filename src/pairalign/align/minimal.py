"""The minimal-latent penalty: dimensions that nobody needs switch off, all samples at once.

Source: the minimal latent norm of "Multimodal LLMs under Pairwise Modalities" (2026, arXiv:2605.21059), as a
group penalty over dimensions (group lasso, Yuan & Lin 2006): the square root makes whole dimensions zero,
where a plain L2 norm would only make all of them small.

Note:
    Alone its price is arbitrary. A decoder can undo any shrinking by scaling up, and a cosine similarity ignores it, so
    that the needed dimensions too shrink without end. Against a fixed amount of noise on the latents (`jitter`) they
    cannot: as on a channel of fixed noise and limited power, a dimension below the noise is a useless one, and the
    penalty is the price of its signal-to-noise ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPS = 1e-8


def minimal_latent(shared: Tensor, private: Tensor, union_gate: Tensor | None = None) -> Tensor:
    """Return the root mean square over the batch of each dimension, averaged over dimensions, a scalar.

    Args:
        shared: (B, d_s).
        private: (B, d_p); d_p may be 0.
        union_gate: (d_s,) in [0, 1], the largest gate of the modality's edges. Then w * shared counts, which
            is what any edge sees. Give it only where the decoder too reads w * shared: else what the gates
            close is free, and private content hides there.
    """
    gated = shared if union_gate is None else union_gate * shared
    latent = torch.cat([gated, private], dim=-1)
    # the small constant keeps the gradient of the root finite at a dimension that is exactly zero
    size = (latent.square().mean(0) + _EPS).sqrt() - _EPS**0.5
    return size.mean()


def jitter(latent: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Return `latent` plus Gaussian noise of standard deviation `std`, in units of the latent."""
    if std == 0:
        return latent
    noise = torch.randn(latent.shape, generator=generator, device=latent.device, dtype=latent.dtype)
    return latent + std * noise


def active_dims(latents: Tensor, threshold: float = 0.5) -> list[int]:
    """Return the dimensions of (N, d) latents whose standard deviation over N is at least `threshold`.

    A natural threshold is the `std` of the jitter: below it a dimension carries under half a bit.
    """
    spread = latents.detach().float().std(0, unbiased=False)
    return (spread >= threshold).nonzero().flatten().tolist()
