"""A small mixture of LoRA experts on the feed-forward layers: `W x + Σ_e p_e(x) B_e A_e x`, p from a learned router.

Source: LoRAMoE, arXiv:2312.09979, without its localised balancing, which needs tasks of two kinds in training.

Note:
    It cannot be merged, and costs its experts at every token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Count
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.linears import find_linears
from pairalign.dormant.pulled import End
from pairalign.finetune.methods.method import Left, Method, Setup, register_method, write_weights

PARTS = ("router", "down", "up")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


class LoraExperts(nn.Module):
    """A frozen linear layer and experts beside it: (…, in) → (…, out)."""

    def __init__(self, base: nn.Linear, experts: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.router = nn.Linear(base.in_features, experts, bias=False)
        self.down = nn.Linear(base.in_features, experts * rank, bias=False)
        self.up = nn.Linear(experts * rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.rank = rank

    def forward(self, input: Tensor) -> Tensor:
        """As the base's, and what the experts add."""
        x = input.to(self.down.weight.dtype)
        chosen = self.router(x).softmax(-1).repeat_interleave(self.rank, -1)
        out: Tensor = self.base(input) + (2 * self.up(chosen * self.down(x))).to(input.dtype)
        return out


@register_method("moe_lora")
class MixtureOfLoRA(Method):
    """experts: how many. rank: of each."""

    leaves = "modules"

    def __init__(self, experts: Count = 4, rank: Count = 4) -> None:
        self.experts, self.rank = experts, rank

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model with experts in its feed-forward layers."""
        llm.requires_grad_(False)
        for name, linear in find_linears(llm, FEED_FORWARD).items():
            parent, _, last = name.rpartition(".")
            dtype = linear.weight.dtype
            made = LoraExperts(linear, self.experts, self.rank).to(linear.weight.device, torch.float32)
            made.base.to(dtype)
            setattr(llm.get_submodule(parent), last, made)
        return llm

    def proceed(self, llm: nn.Module, setup: Setup, left: Left) -> nn.Module:
        """The experts as they were left."""
        return write_weights(self.prepare(llm, setup), left.changed)

    @property
    def can_pull_back(self) -> bool:
        """What the experts add."""
        return True

    def ends(self, llm: nn.Module) -> Iterator[End]:
        """The experts' last layers, which begin at nothing, so that what they add is scaled."""
        own = [module for module in llm.modules() if isinstance(module, LoraExperts)]
        return ((module.up.weight, torch.zeros_like(module.up.weight)) for module in own)

    def changed(self, llm: nn.Module) -> dict[str, Tensor]:
        """The experts and their routers."""
        own = {name: module for name, module in llm.named_modules() if isinstance(module, LoraExperts)}
        parts = {f"{name}.{part}.weight": getattr(m, part).weight for name, m in own.items() for part in PARTS}
        return {name: weight.detach().cpu().contiguous() for name, weight in parts.items()}

    def restore(self, llm: nn.Module, changed: Mapping[str, Tensor]) -> nn.Module:
        """Experts in their places again."""
        return write_weights(self.prepare(llm, Setup(DormantConfig())), changed).requires_grad_(False)
