"""Which samples count as one: those of one object, recording or trajectory.

Where it bites: frames of one recording answer alike; an interval that takes them one by one is far too narrow. Samples
that share either their group or their session are joined, and so are those that a chain of both joins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = ("group", "session")


def clusters_of(metas: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """A number for each sample, equal for those that belong together; `None` where nobody recorded any, and where all
    belong together, since one cluster has no interval. A sample that has neither stands for itself.
    """
    if not any(meta.get(name) is not None for meta in metas for name in NAMES):
        return None
    parent = list(range(len(metas)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, meta in enumerate(metas):
        for name in NAMES:
            if meta.get(name) is not None:
                j = first.setdefault((name, str(meta[name])), i)
                parent[root(i)] = root(j)
    found = [root(i) for i in range(len(metas))]
    return found if len(set(found)) > 1 else None
