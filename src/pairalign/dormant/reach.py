"""Whether weights of a model can act from a sensor's tokens on: its text decoder's, where no token looks ahead.

Note:
    Whether a model looks ahead is asked of the model itself, on four tokens, so that what has no weights yet, or a very
    small vocabulary, is taken at its word.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from pairalign.core.errors import DormantError
from pairalign.dormant.linears import decoder_prefix

LIKE = 3  # a token id that every vocabulary has


@torch.no_grad()
def check_causal(base: nn.Module) -> None:
    """Raise `DormantError` for a language model whose tokens depend on what stands behind them: asked on four tokens,
    of which the last is another one."""
    embedding = getattr(base, "get_input_embeddings", lambda: None)()
    if embedding is None or embedding.weight.is_meta or embedding.weight.shape[0] < LIKE + 2:
        return
    modes = [(module, module.training) for module in base.modules()]
    ids = torch.tensor([[LIKE] * 4, [LIKE] * 3 + [LIKE + 1]], device=embedding.weight.device)
    try:
        one, other = base.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0].float()
    finally:
        for module, training in modes:
            module.training = training
    if float((one - other).abs().max()) > 1e-3 * float(one.abs().max()):
        raise DormantError(
            f"acts='sensor': {type(base).__name__} reads a prompt in both directions, so that what stands before a "
            "sensor depends on it and would not stay the base's: set acts='always', or take a causal model."
        )


def check_decoder(base: nn.Module, updates: Iterable[str]) -> None:
    """Raise `DormantError` for a module that reads other things than a prompt's tokens in their order."""
    prefix = decoder_prefix(base)
    for name in updates:
        if prefix and not name.startswith(prefix + "."):
            raise DormantError(
                f"acts='sensor': {name} is outside of the text decoder, and has no tokens behind a sensor: leave it "
                "out with exclude_modules, or set acts='always'."
            )
