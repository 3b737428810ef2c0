"""Full tuning: every parameter of the text decoder trains.

Where it bites: the output head is left alone where it lies outside of the decoder, as in LLaVA.
"""

from __future__ import annotations

from torch import Tensor, nn

from pairalign.finetune.methods.method import Method, Setup, decoder_parameters, register_method
from pairalign.sharding import whole


@register_method("full")
class Full(Method):
    """The whole decoder."""

    leaves = "weights"

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself."""
        llm.requires_grad_(False)
        for parameter in decoder_parameters(llm).values():
            parameter.requires_grad_(True)
        return llm

    def changed(self, llm: nn.Module) -> dict[str, Tensor]:
        """The decoder."""
        return {name: whole(p.detach()).cpu().contiguous() for name, p in decoder_parameters(llm).items()}
