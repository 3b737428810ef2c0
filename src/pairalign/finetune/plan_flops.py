"""Arithmetic and activations of a step of stage two, from the model's sizes.

FLOPs of a linear are 2 a weight and token, forward; again for the gradient of its input; and for the gradient of the
trained values 2 a trained weight for whole rows and columns, 2 a weight of the matrix for single entries, whose
gradient is formed in dense blocks (`Replacement.gradient`).

Note:
    Estimates; the vision tower's arithmetic, its activations and the bridge are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pairalign.dormant.linears import decoder_prefix
from pairalign.dormant.plan import LayerPlan


def count_flops(
    model: nn.Module, linears: dict[str, nn.Linear], layers: tuple[LayerPlan, ...], structure: str, tokens: int
) -> tuple[int, int]:
    """FLOPs a token of the text decoder, forward and backward, in samples of `tokens` tokens.

    The gradient reaches the embeddings, because the bridge trains.
    """
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    inner = decoder_prefix(model)
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (name.startswith(inner + ".") or name.endswith("lm_head"))
    )
    head = _head_width(text)
    attention = (
        2 * text.num_hidden_layers * text.num_attention_heads * head * tokens
    )  # q·k and p·v, half of them causal
    forward = backward = 2 * weights
    layers = tuple(layer for layer in layers if not inner or layer.name.startswith(f"{inner}."))
    trained = sum(layer.trained for layer in layers)
    if structure == "directions":
        ranks = ((layer.trained // linears[layer.name].out_features, linears[layer.name]) for layer in layers)
        beside = sum(2 * rank * (m.in_features + m.out_features) for rank, m in ranks)
        forward, backward = forward + beside, backward + beside + 2 * trained
    elif structure == "weights" or ":" in structure:
        backward += 2 * sum(layer.entries for layer in layers)
    elif structure == "matrices":
        backward += 2 * trained
    else:
        forward, backward = forward + 2 * trained, backward + 4 * trained
    return forward + attention, backward + 2 * attention


def _head_width(text: Any) -> int:
    """Of one attention head, from the decoder's configuration."""
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def token_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values in all layers of the decoder."""
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * _head_width(text) * dtype.itemsize)


def estimate_activations(model: nn.Module, tokens: int, dtype: torch.dtype, checkpointing: bool) -> int:
    """Bytes kept for the backward pass over `tokens` tokens: an estimate from the sizes of a decoder layer.

    A layer keeps both norms' inputs (fp32 and own dtype), the inputs of its linears, queries, keys, values, and the
    gated product's three factors. Under checkpointing a layer keeps its input, and one layer is whole. The logits and
    their gradient are fp32.
    """
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    head = _head_width(text)
    heads = (2 * text.num_attention_heads + 2 * text.num_key_value_heads) * head  # q, k, v and what o_proj reads
    one = 2 * 4 * text.hidden_size + dtype.itemsize * (4 * text.hidden_size + heads + 4 * text.intermediate_size)
    layers = text.num_hidden_layers
    kept = one + layers * dtype.itemsize * text.hidden_size if checkpointing else layers * one
    return tokens * (kept + 2 * 4 * text.vocab_size)
