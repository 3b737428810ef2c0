"""What is frozen stays in evaluation mode, whoever says `train()`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recompose_models import dormant, loss, tiny_llama, token_batches
from torch import Tensor, nn

from pairalign.dormant.frozen import keep_frozen_still


class Normed(nn.Module):
    """An embedding with batch norm and dropout behind it, as a base may have them in a tower that nobody tunes."""

    def __init__(self, embedding: nn.Module, affine: bool) -> None:
        super().__init__()
        self.embedding, self.norm = embedding, nn.BatchNorm1d(32, affine=affine)
        self.dropout = nn.Dropout(0.5)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.norm(self.embedding(ids).mT).mT)
        return out


def normed(affine: bool = True, **options: Any) -> nn.Module:
    base: Any = tiny_llama(**options)
    base.model.embed_tokens = Normed(base.model.embed_tokens, affine)
    return dormant(base, structure="rows").train()


@pytest.mark.parametrize("affine", [True, False])
def test_statistics_of_a_frozen_batch_norm_stay(affine: bool) -> None:
    model = normed(affine)
    before = {name: value.clone() for name, value in model.named_buffers() if "norm" in name}
    assert len(before) == 3
    first, second = (float(loss(model, batch).detach()) for batch in token_batches(1) * 2)
    assert first == second  # no dropout in the frozen part either
    for name, value in model.named_buffers():
        assert name not in before or value.equal(before[name]), name


def test_dropout_beside_what_trains_stays_on() -> None:
    layer: Any = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    keep_frozen_still(layer.train())
    assert [part.training for part in layer] == [True, True, True]
    layer[0].requires_grad_(False)
    keep_frozen_still(layer)
    assert [part.training for part in layer] == [False, True, True]
    layer[2].requires_grad_(False)
    keep_frozen_still(layer)
    assert [part.training for part in (layer, *layer)] == [False] * 4


def test_attention_of_adapted_layers_drops_out_and_that_of_frozen_ones_does_not() -> None:
    model = dormant(tiny_llama(attention_dropout=0.5), structure="rows", layers_to_transform=(1,)).train()
    assert [layer.self_attn.training for layer in model.model.layers] == [False, True]
    assert model.eval().training is False
    assert not any(module.training for module in model.modules())


def test_frozen_layers_still_recompute_their_activations() -> None:
    """The bridge's gradient passes through them, whatever trains."""
    model: Any = tiny_llama()
    model.gradient_checkpointing_enable()
    run: list[bool] = []
    for layer in model.model.layers:
        plain = layer._gradient_checkpointing_func
        layer._gradient_checkpointing_func = lambda *a, plain=plain, **k: (run.append(True), plain(*a, **k))[1]
    model.requires_grad_(False)
    keep_frozen_still(model.train())
    assert not model.model.layers[0].self_attn.training
    vectors = torch.randn(1, 3, 32, requires_grad=True)
    model(inputs_embeds=vectors).logits.sum().backward()
    assert len(run) == 2
    assert vectors.grad is not None
