"""Load any AutoModel: from a hub name, a local folder, or a configuration built offline.

Note:
    Only safetensors are read, never a pickle; a model that has none on the hub must be converted first. Weights are
    float32 whatever the dtype that is stored (a bfloat16 number is one of float32, so none changes): heads are float32,
    and a tower that trains in 16 bits loses small steps. `train.precision: bf16-mixed` computes in 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from pairalign.core.errors import ConfigError, did_you_mean

PROJECTIONS = {"text": "text_projection", "vision": "visual_projection"}
POOLING = ("mean", "cls", "last", "pooler", "projected")


def load_backbone(model: str | None, config: dict[str, Any] | None, revision: str | None = None) -> Any:
    """The AutoModel `model` (hub name or folder), or one with random weights from `config` with its `model_type`."""
    if (model is None) == (config is None):
        raise ConfigError(f"model={model!r} and config={config!r}: give exactly one of them.")
    if config is not None:
        if "model_type" not in config:
            raise ConfigError(f"config={config!r} lacks model_type, such as 'bert' or 'vit'.")
        values = dict(config)
        return AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).float()
    assert model is not None
    try:
        return AutoModel.from_pretrained(
            model,
            revision=revision,
            use_safetensors=True,
            local_files_only=Path(model).is_dir(),
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"model={model!r} cannot be loaded: {_explain(model, error)}") from error


def pick_tower(backbone: Any, pooling: str, side: str) -> Any:
    """The tower of one `side` ("text" or "vision") of a model, without what nobody reads: no gradient would reach it.

    With pooling="projected" it is the two-tower model without its other side.
    """
    if pooling == "projected":
        return _one_sided(backbone, side)
    tower = getattr(backbone, f"{side}_model", None) or backbone
    if side == "text" and tower.config.is_encoder_decoder:
        tower = tower.get_encoder()
    if pooling != "pooler" and getattr(tower, "pooler", None) is not None:
        tower.pooler = None
    if pooling != "pooler" and side == "text" and isinstance(getattr(tower, "head", None), nn.Module):
        tower.head = nn.Identity()  # of SigLIP, which calls it in any case
    return tower


def _one_sided(backbone: Any, side: str) -> Any:
    named = {"text": "get_text_features", "vision": "get_image_features"}[side]
    if not hasattr(backbone, named):
        raise ConfigError(
            f"pooling='projected': {type(backbone).__name__} has no {named}: give the folder of a model with two "
            "towers, or another pooling."
        )
    for name, _ in list(backbone.named_children()):
        if name not in (f"{side}_model", PROJECTIONS[side]):
            setattr(backbone, name, None)
    for name in ("logit_scale", "logit_bias", "logit_scale_a", "logit_scale_t"):
        backbone._parameters.pop(name, None)
    return backbone


def project(features: Any, backbone: Any, side: str) -> tuple[Tensor, Tensor]:
    """Tokens and pooled vectors, of one width, out of what `get_text_features` or `get_image_features` gave."""
    tokens, pooled = features.last_hidden_state, features.pooler_output
    projection = getattr(backbone, PROJECTIONS[side], None)
    return tokens if projection is None else projection(tokens), pooled


def tower_config(backbone: Any, side: str) -> Any:
    """The configuration of one side, whether the other is there or not."""
    return getattr(backbone.config, f"{side}_config", backbone.config)


def tower_width(backbone: Any, side: str) -> int:
    """The size of a tower's vectors."""
    if getattr(backbone, PROJECTIONS[side], None) is not None:
        return int(backbone.config.projection_dim)
    return int(tower_config(backbone, side).hidden_size)


def _explain(model: str, whole: Exception) -> str:
    error = str(whole).split("\n", 1)[0]  # transformers adds the names of all its models
    if Path(model).is_dir():
        return f"the folder needs config.json and model.safetensors ({error})."
    return f"give a folder, or a hub name that can be reached and has safetensors weights ({error})."


def check_pooling(pooling: str) -> str:
    """Return `pooling`, or raise `ConfigError`."""
    if pooling not in POOLING:
        raise ConfigError(f"pooling={pooling!r}.{did_you_mean(pooling, POOLING)}")
    return pooling


def pool(hidden: Tensor, mask: Tensor, pooling: str, pooler: Tensor | None) -> Tensor:
    """Tokens (B, T, D) and their mask (B, T) → (B, D): mean, first, last kept token, or the model's own pooler.

    Padding may stand on either side.
    """
    if pooling == "pooler":
        if pooler is None:
            raise ConfigError("pooling='pooler': this model has no pooler; use 'mean', 'cls' or 'last'.")
        return pooler
    if pooling == "cls":
        return hidden[range(len(hidden)), mask.long().argmax(1)]
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        return hidden[range(len(hidden)), (mask * places).argmax(1)]
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def layers_of(backbone: nn.Module) -> Sequence[nn.Module]:
    """The transformer layers, from input to output: the longest list of equal modules."""
    lists = [list(m) for m in backbone.modules() if isinstance(m, nn.ModuleList)]
    equal = [layers for layers in lists if len({type(layer) for layer in layers}) == 1]
    return max(equal, key=len) if equal else list(backbone.children())
