"""The pair graph against brute force over all walks."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairalign.core.errors import GraphError
from pairalign.data.graph import PairGraph

NAMES = ("image", "text", "touch", "points", "audio")
graphs = st.sets(st.sampled_from(list(combinations(NAMES, 2)))).map(lambda e: PairGraph(NAMES, tuple(sorted(e))))


def brute_path_length(graph: PairGraph, start: str, end: str) -> int | None:
    """Shortest walk by trying every order of every subset."""
    joined = {frozenset(edge) for edge in graph.edges}
    between = [n for n in graph.modalities if n not in (start, end)]
    for size in range(len(between) + 1):
        for middle in permutations(between, size):
            walk = (start, *middle, end)
            if all(frozenset(step) in joined for step in pairwise(walk)):
                return len(walk)
    return None


@given(graphs)
def test_paths_emergent_and_components_against_brute_force(graph: PairGraph) -> None:
    trained = {frozenset(edge) for edge in graph.edges}
    emergent = {frozenset(edge) for edge in graph.emergent()}
    for a, b in combinations(NAMES, 2):
        length = brute_path_length(graph, a, b)
        path = graph.path(a, b)
        assert (len(path) if path else None) == length
        assert (frozenset((a, b)) in emergent) == (length is not None and frozenset((a, b)) not in trained)
        together = any(a in part and b in part for part in graph.components())
        assert together == (length is not None)
    assert sorted(n for part in graph.components() for n in part) == sorted(NAMES)


def test_edges_along_a_path_keep_their_spelling() -> None:
    graph = PairGraph(("image", "text", "touch"), (("text", "image"), ("image", "touch")))
    assert graph.edges_along(("touch", "image", "text")) == [("image", "touch"), ("text", "image")]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((("image", "tuch"),), "'tuch', which has no encoder. Did you mean 'touch'"),
        ((("image", "image"),), "two different"),
        ((("image", "touch"), ("touch", "image")), "listed twice"),
    ],
)
def test_bad_edges(edges: tuple[tuple[str, str], ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        PairGraph(("image", "touch"), edges)


def test_disconnected_is_an_error_unless_allowed() -> None:
    graph = PairGraph(("image", "text", "touch"), (("image", "text"),))
    with pytest.raises(GraphError, match=r"not connected \(image, text; touch\).*allow_disconnected"):
        graph.check_connected()
    graph.check_connected(allow_disconnected=True)
