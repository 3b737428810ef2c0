"""Splits that keep what belongs together whole: every sample of an object or trajectory on one side.

Note:
    Whole groups rarely fill shares exactly; with few groups the shares are far off, and the counts say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def split_by_group(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Split by group, from samples by group, so that splits come near their shares; no split stays empty if it can be.

    Groups come in an order that follows from their name and `seed`, and each goes where most is missing.
    """
    order = sorted(sizes, key=lambda group: hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest())
    total, filled = sum(sizes.values()), dict.fromkeys(shares, 0)
    found: dict[str, str] = {}
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        empty = [split for split in shares if not filled[split]]
        open_ = empty if len(empty) >= left else list(shares)
        split = max(open_, key=lambda name: shares[name] * total - filled[name])
        found[group] = split
        filled[split] += sizes[group]
    return found
