"""The contrastive term of each pair of a batch by itself, to tell data sets of one batch apart. No gradient.

The mean over the rows is the loss, for InfoNCE up to how false negatives that are positives are weighed. Where it
bites: negatives are those of this process alone, which are fewer than the loss has on several.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairalign.align.streamed import FalseNegatives, Matches, StreamedSigmoid


@torch.no_grad()
def row_contrast(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
    false_negatives: FalseNegatives = "mask",
    chunk: int = 1024,
) -> Tensor:
    """Loss of every row (B,) of `info_nce`, or with a bias of `sigmoid_loss`; arguments as there."""
    a, b, scale = a.detach().float(), b.detach().float(), scale.detach().float()
    matches = Matches(false_negatives, (ids_a, ids_b), (ids_a, ids_b))
    with torch.autocast(a.device.type, enabled=False):
        if bias is None:
            return (_info_nce(a, b, scale, matches, chunk) + _info_nce(b, a, scale, matches, chunk)) / 2
        rows = [
            torch.nn.functional.softplus(StreamedSigmoid.opposed(a, b, scale, bias.detach().float(), matches, part)[0])
            for part in _parts(len(a), chunk)
        ]
        return torch.cat([row.sum(1) for row in rows])


def _info_nce(x: Tensor, y: Tensor, scale: Tensor, matches: Matches, chunk: int) -> Tensor:
    found = []
    for part in _parts(len(x), chunk):
        logits, match = (x[part] * scale) @ y.T, matches.block(part)
        own, count = matches.own(logits, part).clone(), torch.ones(len(logits), device=x.device)
        if match is not None and matches.mode == "positive":
            own, count = own + logits.where(match, 0.0).sum(1), count + match.sum(1)
        elif match is not None:
            logits.masked_fill_(match, -torch.inf)
        found.append(logits.logsumexp(1) - own / count)
    return torch.cat(found)


def _parts(rows: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, rows)) for start in range(0, rows, chunk)]
