"""The pair graph: modalities are nodes, pair datasets are edges.

Training touches edges only. Two modalities that are joined by a path but not by an edge are *emergent*: the model
relates them without ever having seen a pair. An emergent edge can carry only what every modality on its path sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from pairalign.core.errors import GraphError, did_you_mean

Edge = tuple[str, str]


def edge_name(edge: Edge) -> str:
    """`("image", "touch")` → `"image-touch"`: the name used in files, tables and logs."""
    return "-".join(edge)


@dataclass(frozen=True)
class PairGraph:
    """Modalities (nodes) and the pairs that exist (edges); an edge joins two different known modalities, once.

    Args:
        modalities: names of the nodes.
        edges: pairs of them.

    Raises:
        GraphError: for an edge of one modality with itself, of an unknown one, or listed twice.

    Example:
        >>> from pairalign import PairGraph
        >>> graph = PairGraph(("image", "text", "touch"), (("image", "text"), ("image", "touch")))
        >>> graph.emergent()
        {('text', 'touch'): ('text', 'image', 'touch')}
    """

    modalities: tuple[str, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        seen: set[frozenset[str]] = set()
        for edge in self.edges:
            if len(edge) != 2 or edge[0] == edge[1]:
                raise GraphError(f"edge {list(edge)} must join two different modalities.")
            for end in edge:
                if end not in self.modalities:
                    raise GraphError(
                        f"edge {edge_name(edge)} names the modality {end!r}, which has no encoder."
                        f"{did_you_mean(end, self.modalities)}"
                    )
            if frozenset(edge) in seen:
                raise GraphError(f"edge {edge_name(edge)} is listed twice: give it all its shards in one entry.")
            seen.add(frozenset(edge))

    def neighbours(self, modality: str) -> list[str]:
        """Modalities that share an edge with one, in the order of the edges.

        Args:
            modality: a node.
        """
        return [b if a == modality else a for a, b in self.edges if modality in (a, b)]

    def components(self) -> list[tuple[str, ...]]:
        """Connected parts, each a tuple of modalities."""
        left, parts = list(self.modalities), []
        while left:
            part = [m for m in left if m == left[0] or self.path(left[0], m)]
            parts.append(tuple(part))
            left = [m for m in left if m not in part]
        return parts

    @property
    def connected(self) -> bool:
        """True if every modality can reach every other."""
        return len(self.components()) <= 1

    def path(self, start: str, end: str) -> tuple[str, ...] | None:
        """A shortest path from one modality to another, both included; `None` if there is none.

        Args:
            start: its first node.
            end: its last node.
        """
        came: dict[str, str | None] = {start: None}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            if here == end:
                return tuple(reversed(list(_walk_back(came, end))))
            for there in self.neighbours(here):
                if there not in came:
                    came[there] = here
                    queue.append(there)
        return None

    def emergent(self) -> dict[Edge, tuple[str, ...]]:
        """Pairs of modalities that are joined by a path but never trained, with that path."""
        trained = {frozenset(edge) for edge in self.edges}
        found: dict[Edge, tuple[str, ...]] = {}
        for a, b in combinations(self.modalities, 2):
            path = self.path(a, b)
            if path and frozenset((a, b)) not in trained:
                found[(a, b)] = path
        return found

    def check_connected(self, *, allow_disconnected: bool = False) -> None:
        """Raise `GraphError` unless connected, or unless that is allowed on purpose.

        Args:
            allow_disconnected: that it is.
        """
        if not self.connected and not allow_disconnected:
            parts = "; ".join(", ".join(part) for part in self.components())
            raise GraphError(
                f"the pair graph is not connected ({parts}): add pairs between the parts, "
                "or set allow_disconnected=true to align each part by itself."
            )

    def edges_along(self, path: Iterable[str]) -> list[Edge]:
        """The trained edges, as they are spelt in `edges`, between the consecutive modalities of a path.

        Args:
            path: of modalities, as `path` gives it.
        """
        nodes = list(path)
        by_ends = {frozenset(edge): edge for edge in self.edges}
        return [by_ends[frozenset(step)] for step in pairwise(nodes)]


def _walk_back(came: dict[str, str | None], end: str) -> Iterator[str]:
    here: str | None = end
    while here is not None:
        yield here
        here = came[here]
