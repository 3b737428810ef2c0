"""A tiny decoder of real Hugging Face classes, batches for it, and dormant updates of every structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import pairalign as pa
from pairalign.dormant.model import DormantModel


def tiny_llama(seed: int = 0, layers: int = 2, **options: object) -> nn.Module:
    """A Llama of 2 layers and 32 dimensions, random weights, evaluation mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **options})).eval()


def token_batches(count: int = 3, seed: int = 0, length: int = 7) -> list[dict[str, Tensor]]:
    """Batches of 4 random sequences; the second half of each has its last 3 places padded."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        ids = torch.randint(3, 64, (4, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[2:, -3:] = 0
        batches.append({"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask})
    return batches


STRUCTURES = {
    "rows": {"structure": "rows"},
    "columns": {"structure": "columns"},
    "neurons": {"structure": "neurons", "target_modules": ("gate_proj", "up_proj", "down_proj")},
    "weights": {"structure": "weights", "density": 0.3},
    "few weights": {"structure": "weights", "budget": "global", "density": 0.02},
    "1:4": {"structure": "1:4"},
}
ALL = {**STRUCTURES, "directions": {"structure": "directions"}}


def dormant(model: nn.Module, **options: Any) -> DormantModel:
    config = pa.DormantConfig(**{"density": 0.25, **options})
    return pa.get_dormant_model(model, config, token_batches(), sensor="touch")


def logits(model: nn.Module, batch: dict[str, Tensor] | None = None) -> Tensor:
    with torch.no_grad():
        return model(**(batch or token_batches()[0])).logits


def loss(model: nn.Module, batch: dict[str, Tensor] | None = None) -> Tensor:
    return model(**(batch or token_batches()[0])).logits.float().square().mean()


def train(model: nn.Module, steps: int = 3, make: Callable[..., Any] = torch.optim.AdamW, **options: Any) -> None:
    optimizer = make([p for p in model.parameters() if p.requires_grad], **{"lr": 1e-2, **options})
    for batch in token_batches(steps):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
