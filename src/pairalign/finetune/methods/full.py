"""Full tuning: every parameter of the text decoder trains.

A decoder in 16 bits keeps its dtype and has float32 masters while it trains, see `pairalign.masters`.

Note:
    The output head is left alone where it lies outside of the decoder, as in LLaVA.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from pairalign.dormant.config import DormantConfig
from pairalign.dormant.pulled import End
from pairalign.finetune.methods.method import Method, Setup, decoder_parameters, register_method
from pairalign.sharding import as_it_is, whole


@register_method("full")
class Full(Method):
    """The whole decoder. `start`: as it was, on the CPU, where it `blends` with that or the set-up asks for it."""

    leaves = "weights"
    blends = False
    start: dict[str, Tensor] = {}  # noqa: RUF012  # replaced, never changed

    @classmethod
    def default_lr(cls, dormant: DormantConfig) -> float:
        """What a whole pretrained model is tuned at (LLaVA, arXiv:2310.03744; Splash)."""
        return 2e-5

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself."""
        llm.requires_grad_(False)
        for parameter in decoder_parameters(llm).values():
            parameter.requires_grad_(True)
        if setup.remember or self.blends:
            self.remember(llm)
        return llm

    def remember(self, llm: nn.Module) -> None:
        """A copy of the decoder."""
        self.start = {name: as_it_is(p) for name, p in decoder_parameters(llm).items()}

    @property
    def can_pull_back(self) -> bool:
        """The decoder, of which a copy is kept."""
        return True

    def ends(self, llm: nn.Module) -> Iterator[End]:
        """The decoder."""
        return ((p, self.start[name]) for name, p in decoder_parameters(llm).items())

    def changed(self, llm: nn.Module) -> dict[str, Tensor]:
        """The decoder."""
        return {name: whole(p.detach()).cpu().contiguous() for name, p in decoder_parameters(llm).items()}
