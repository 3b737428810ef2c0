"""Recomposition: a sensor's aligned latent through the model's own image projector, without any stage-two training.

What a picture's tokens are before the projector, averaged, is a linear function of the picture's shared latent, fitted
in closed form on pictures alone; a touch whose latent lies where that picture's does then looks like it to the model.
    x̂ = x̄ + W (g ⊙ z),   W = argmin Σ |x_i − x̄ − W (g ⊙ z_i)|² + λ |W|²,   vectors = projector(x̂)
with g the gate along the path from sensor to picture.

Note:
    Only what sensor and picture share gets through; hardness, which no picture shows, does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.errors import ConfigError, DataError
from pairalign.sensors.bridges.bridge import SensorFeatures

PROJECTORS = ("multi_modal_projector", "connector", "merger", "mm_projector")
LEAST = 16


class Recomposition(nn.Module):
    """`SensorFeatures` → (B, length, H), by the model's projector, which stays the model's."""

    mean: Tensor
    map: Tensor
    gate: Tensor

    def __init__(self, projector: nn.Module, mean: Tensor, map: Tensor, gate: Tensor, length: int) -> None:
        """mean: x̄, as the projector reads one picture (…, D_v). map: W (D_v, d_s). gate: (d_s,)."""
        super().__init__()
        self._projector, self.length = [projector], length  # a list: not a module of this one
        for name, value in (("mean", mean), ("map", map), ("gate", gate)):
            self.register_buffer(name, value)

    def sizes(self) -> dict[str, list[int]]:
        """What `Recomposition.empty` needs."""
        return {name: list(getattr(self, name).shape) for name in ("mean", "map", "gate")} | {"length": [self.length]}

    @classmethod
    def empty(cls, model: nn.Module, sizes: Mapping[str, Sequence[int]]) -> Recomposition:
        """With weights yet to be loaded."""
        mean, map, gate = (torch.zeros(*sizes[name]) for name in ("mean", "map", "gate"))
        return cls(find_projector(model), mean, map, gate, sizes["length"][0])

    @torch.no_grad()
    def forward(self, sensed: SensorFeatures) -> Tensor:
        """(B, length, H)."""
        moved = (sensed.shared.float() * self.gate) @ self.map.T
        weight = next(self._projector[0].parameters())
        made = [self._projector[0]((self.mean + one).to(weight)).flatten(0, -2) for one in moved]
        return torch.stack(made)


def fit_recomposition(
    model: nn.Module, pictures: Sequence[Mapping[str, Any]], shared: Tensor, gate: Tensor, ridge: float = 1e-2
) -> Recomposition:
    """Fit W on the model's image inputs of single pictures and their shared latents (N, d_s).

    gate: (d_s,). ridge: λ as a share of the latents' mean variance times N. Raise `DataError` for too few pictures.
    """
    if len(pictures) != len(shared) or len(pictures) < LEAST:
        raise DataError(
            f"recomposition: {len(pictures)} pictures, {len(shared)} latents: give at least {LEAST} of each."
        )
    projector = find_projector(model)
    seen, total, length = [], torch.zeros(()), 0
    for inputs in pictures:
        x, length = _projected(model, projector, inputs)
        if total.ndim and total.shape != x.shape:
            raise DataError(
                f"recomposition: the projector reads {tuple(total.shape)} of one picture and {tuple(x.shape)} of "
                "another: give pictures of one size."
            )
        total = total + x.float()
        seen.append(x.float().flatten(0, -2).mean(0))
    targets, latents = torch.stack(seen), shared.to(seen[0]) * gate.to(seen[0])
    targets = targets - targets.mean(0)
    centred = latents - latents.mean(0)
    gram = centred.T @ centred
    size = ridge * gram.diagonal().mean().clamp_min(1e-12)
    weights = torch.linalg.solve(gram + size * torch.eye(len(gram)).to(gram), centred.T @ targets).T
    mean = total / len(pictures) - weights @ latents.mean(0)
    return Recomposition(projector, mean, weights, gate.to(weights), length)


def find_projector(model: nn.Module) -> nn.Module:
    """The module between a model's vision tower and its decoder; raise `ConfigError` if none has a known name."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in PROJECTORS:
            return module
    raise ConfigError(f"{type(model).__name__} has none of {', '.join(PROJECTORS)}: use another bridge.")


@torch.no_grad()
def _projected(model: nn.Module, projector: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, int]:
    """What the projector reads of one picture (…, D_v), and how many vectors it makes of it."""
    find: Any = model.get_image_features
    known = inspect.signature(find).parameters
    device = next(model.parameters()).device
    with _watched(projector) as seen:
        find(**{n: v.to(device) if torch.is_tensor(v) else v for n, v in inputs.items() if n in known})
    read, made = seen[0]
    return read, made.flatten(0, -2).shape[0]


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    seen: list[tuple[Tensor, Tensor]] = []

    def see(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen.append((args[0], output))

    handle = module.register_forward_hook(see)
    try:
        yield seen
    finally:
        handle.remove()
