"""SPIDER's blend: full tuning, then every weight moves back by how much more the base needs it than the new task does.

θ = θ_base + λ (θ_tuned − θ_base), λ = s / (s + g) per weight, with s the weight's mean gradient size in training and g
its size in the base, each divided by its mean over the matrix. Source: arXiv:2411.10928, whose blending ratio it is;
here it is applied once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pairalign.finetune.methods.blended import Blended
from pairalign.finetune.methods.method import Setup, decoder_parameters, register_method
from pairalign.masters import exact, write


@register_method("spider")
class Spider(Blended):
    """Without settings."""

    def __init__(self) -> None:
        self.moved: dict[str, Tensor] = {}

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself; the base's decoder is remembered."""
        self.moved = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in decoder_parameters(llm).items()}
        return super().prepare(llm, setup)

    def after_backward(self, llm: nn.Module) -> None:
        """Add up the gradient sizes of optimizer steps."""
        for name, parameter in decoder_parameters(llm).items():
            if parameter.grad is not None:
                self.moved[name] += parameter.grad.abs().to(self.moved[name])

    def state(self) -> dict[str, Tensor]:
        """The gradient sizes."""
        return {name: value.detach().cpu().clone() for name, value in self.moved.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """In place."""
        for name, value in state.items():
            self.moved[name].copy_(value)

    @torch.no_grad()
    def finish(self, llm: nn.Module) -> nn.Module:
        """Blend."""
        for name, parameter in decoder_parameters(llm).items():
            now = exact(parameter).float()
            base = self.start[name].to(now)
            new, old = (value / value.mean().clamp_min(1e-30) for value in (self.moved[name], base.abs()))
            share = (new / (new + old).clamp_min(1e-30)).to(now)
            write(parameter, base + share * (now - base))
        return llm
