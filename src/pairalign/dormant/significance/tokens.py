"""Which tokens of a batch are the image's, the text's, or padding.

Note:
    Image tokens are those whose id is the model's `image_token_id`; a model without one has text only.
"""

from __future__ import annotations

from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.significance.scores import Batch


def tokens_by_kind(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """bool (B, T) by kind, "text" and, where the batch has them, "image"; padding is in neither."""
    if "input_ids" not in batch:
        raise DormantError("calibration: a batch without input_ids does not say which tokens are the image's.")
    mask = batch.get("attention_mask")
    real = batch["input_ids"] >= 0 if mask is None else mask.bool()
    token = image_token(model)
    if token is None:
        return {"text": real}
    image = batch["input_ids"] == token
    return {"text": real & ~image, "image": real & image}


def image_token(model: nn.Module) -> int | None:
    """Id of the model's image placeholder, `None` for a text-only model."""
    config = getattr(model, "config", None)
    for name in ("image_token_id", "image_token_index"):
        found = getattr(config, name, None)
        if found is not None:
            return int(found)
    return None
