"""All captions of a modality whose samples may have several, and those of several pools as one.

Note:
    A sample with one caption has its content id here, too, so that equal captions of others are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairalign.data.captions import several_texts
from pairalign.data.decode import content_id


class Captions(NamedTuple):
    """All captions of one modality.

    shared: (M, d_s). owner: (M,) row of the sample that each is of. ids: (M,) content ids. table: (N, K) content ids of
    the captions of each sample, repeated where it has fewer than others.
    """

    shared: Tensor
    owner: Tensor
    ids: Tensor
    table: Tensor


def caption_ids(value: Any) -> list[int]:
    """Content ids of a sample's captions."""
    return [content_id("txt", [str(text).encode("utf-8", "replace")]) for text in several_texts(value) or [value]]


def captions_of(shared: Tensor, ids: Sequence[Sequence[int]]) -> Captions:
    """Captions in the order of their samples, from the vectors of all of them and the ids of each sample's."""
    owner = torch.tensor([row for row, own in enumerate(ids) for _ in own])
    table = torch.tensor([[own[place % len(own)] for place in range(max(map(len, ids)))] for own in ids])
    return Captions(shared, owner, torch.tensor([one for own in ids for one in own]), table)


def joined(parts: Sequence[Captions]) -> Captions:
    """The captions of several pools, one after the other."""
    most = max(part.table.shape[1] for part in parts)
    tables, owners, before = list[Tensor](), list[Tensor](), 0
    for part in parts:
        tables.append(part.table[:, torch.arange(most) % part.table.shape[1]])
        owners.append(part.owner + before)
        before += len(part.table)
    return Captions(
        torch.cat([part.shared for part in parts]),
        torch.cat(owners),
        torch.cat([part.ids for part in parts]),
        torch.cat(tables),
    )
