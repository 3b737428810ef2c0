"""Partial alignment: a learned gate per edge says which shared dimensions the two modalities have in common.

Source: "Multimodal LLMs under Pairwise Modalities" (2026, arXiv:2605.21059): touch and image share texture,
not colour, so that the contrastive term may compare only some of the dimensions.

Note:
    A cosine similarity ignores the overall size of the gate w. With free gates an L1 penalty would shrink them all and
    change nothing; here the largest entry of w is always 1, so that the penalty acts on the ratios alone. For the same
    reason an encoder can undo a small gate by a large latent: keep the latents on a fixed scale (see `minimal`). A
    plain sigmoid never quite closes, and what leaks through a gate of 0.05 is enough to carry private content. Here it
    is stretched below 0 and clamped there (as in hard-concrete gates, Louizos et al. 2018, arXiv:1712.01312), so that a
    gate can be exactly 0, and then stays so. It is not clamped at the top, where dividing by the largest does the same
    and leaves every open gate a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pairalign.core.errors import GraphError, did_you_mean

Edge = tuple[str, str]

_OPEN = 1.5  # a stretched gate of 0.88: open, and still far from the flat part of the sigmoid
_STRETCH = 1.2


class EdgeGates(nn.Module):
    """Gates w_ab in [0, 1]^dim, one per undirected edge, each with a maximum of exactly 1.

    Args:
        edges: pairs of modalities; (a, b) and (b, a) are the same edge.
        dim: number of shared dimensions.
        enabled: False gives ones everywhere and no parameters: full alignment, the ablation.

    Raises:
        GraphError: asked for an edge or a modality that is not in `edges`.
    """

    def __init__(self, edges: Sequence[Edge], dim: int, *, enabled: bool = True) -> None:
        super().__init__()
        self.dim, self.enabled = dim, enabled
        self.edges = tuple(dict.fromkeys(_undirected(edge) for edge in edges))
        learned = self.edges if enabled else ()
        self.logits = nn.ParameterDict({_key(edge): nn.Parameter(torch.full((dim,), _OPEN)) for edge in learned})
        self.register_buffer("ones", torch.ones(dim), persistent=False)
        self.ones: Tensor

    def forward(self, edge: Edge) -> Tensor:
        """Return the gate (dim,) of an edge."""
        edge = _undirected(edge)
        if edge not in self.edges:
            raise GraphError(f"edge {_name(edge)!r} has no gate.{did_you_mean(_name(edge), map(_name, self.edges))}")
        if not self.enabled:
            return self.ones
        logits = self.logits[_key(edge)]
        gate = (_STRETCH * torch.sigmoid(logits) - (_STRETCH - 1) / 2).clamp(min=0)
        largest = gate.amax()
        if not largest > 0:  # all closed: the least closed one stays open, rather than 0 / 0
            return torch.exp(logits - logits.amax())
        return gate / largest

    def path(self, edges: Iterable[Edge]) -> Tensor:
        """Return the product (dim,) of the gates along a path: what an emergent edge can carry."""
        gate = self.ones
        for edge in edges:
            gate = gate * self(edge)
        return gate

    def union(self, modality: str) -> Tensor:
        """Return the maximum (dim,) over the edges that touch a modality: what it shares with anyone."""
        touching = [self(edge) for edge in self.edges if modality in edge]
        if not touching:
            known = {name for edge in self.edges for name in edge}
            raise GraphError(f"modality {modality!r} is on no edge.{did_you_mean(modality, known)}")
        return torch.stack(touching).amax(0)

    def penalty(self, edge: Edge) -> Tensor:
        """Return the L1 penalty mean |w|, a scalar in [1/dim, 1]; without gradient if not `enabled`."""
        return self(edge).abs().mean()

    def active(self, edge: Edge, threshold: float = 0.5) -> list[int]:
        """Return the dimensions whose gate is at least `threshold`."""
        return (self(edge).detach() >= threshold).nonzero().flatten().tolist()


def gated_cosine(w: Tensor, a: Tensor, b: Tensor, eps: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Return w * a and w * b, (B, D) each, at unit length: their products are the gated cosine similarities.

    The length is sqrt(|x|^2 + eps^2): an all-zero row gives zeros and a finite gradient instead of NaN.
    """
    return _unit(w * a, eps), _unit(w * b, eps)


def gated_euclidean(w: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, D + 2) twice, whose dot products are -|w a_i - w b_j|^2, for losses on dot products."""
    x, y = w * a, w * b
    nx, ny = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    return torch.cat([2 * x, -nx, torch.ones_like(nx)], -1), torch.cat([y, torch.ones_like(ny), -ny], -1)


def _unit(x: Tensor, eps: float) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + eps * eps).rsqrt()


def _undirected(edge: Edge) -> Edge:
    first, second = sorted(edge)
    return first, second


def _name(edge: Edge) -> str:
    return "-".join(edge)


def _key(edge: Edge) -> str:
    """Name the parameter; torch forbids dots in it."""
    return "~".join(edge).replace(".", "_")
