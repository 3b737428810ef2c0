"""The relational term: copy how near a frozen anchor's samples are to each other, not only which is whose.

With contrast alone every other caption is equally wrong; but to a frozen text tower a bench is nearer to a chair than
to a jet, and that is what a class that was never trained has to be placed by. Source: similarity-preserving and
relational distillation (Tung & Mori 2019, arXiv:1907.09682; Park et al. 2019, arXiv:1904.05068), written as soft
targets of the contrastive softmax as in CLIP-style soft alignment (SoftCLIP, arXiv:2303.17561). As cross-entropy is
linear in its targets, `contrast=1-β, relation=β` is InfoNCE with targets mixed by β.

Note:
    Not chunked, so memory grows with the square of the batch; the similarities are within one process.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ContrastiveError


def relation_loss(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    anchor: Tensor,
    *,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """Mean cross-entropy, both directions, of softmax(scale a bᵀ) against softmax(cos(anchor) / temperature); a scalar.

    a, b: (B, D) at unit length. anchor: (B, E) centred frozen features of one side. ids_a, ids_b: (B,) content; a pair
    (i, j), i ≠ j, that shares one is left out of both distributions. Raises `ContrastiveError` if sizes do not fit.
    """
    if not len(a) == len(b) == len(anchor) or len(a) < 2:
        raise ContrastiveError(
            f"relation_loss: {len(a)}, {len(b)} and {len(anchor)} rows: give equal numbers, at least 2."
        )
    unit = F.normalize(anchor.detach(), dim=1)
    same = torch.zeros(len(a), len(a), dtype=torch.bool, device=a.device)
    for ids in (ids_a, ids_b):
        if ids is not None:
            same |= ids[:, None] == ids
    same.fill_diagonal_(False)
    target = (unit @ unit.T / temperature).masked_fill(same, -torch.inf).softmax(1)
    logits = (scale * a @ b.T).masked_fill(same, -torch.inf)
    forth, back = (x.log_softmax(1).masked_fill(same, 0.0) for x in (logits, logits.T))
    return -(target * (forth + back)).sum(1).mean() / 2
