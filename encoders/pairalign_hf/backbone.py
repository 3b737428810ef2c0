"""Load any AutoModel: from a hub name, a local folder, or a configuration built offline.

Where it bites: only safetensors are read, never a pickle; a model that has none on the hub must be converted first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from pairalign.core.errors import ConfigError, did_you_mean

POOLING = ("mean", "cls", "last", "pooler")


def load_backbone(
    model: str | None, config: dict[str, Any] | None, revision: str | None = None, pooling: str = "mean"
) -> Any:
    """The AutoModel `model` (hub name or folder), or one with random weights from `config` with its `model_type`."""
    if (model is None) == (config is None):
        raise ConfigError(f"model={model!r} and config={config!r}: give exactly one of them.")
    if config is not None:
        if "model_type" not in config:
            raise ConfigError(f"config={config!r} lacks model_type, such as 'bert' or 'vit'.")
        values = dict(config)
        built = AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        return drop_pooler(built, pooling)
    assert model is not None
    try:
        loaded = AutoModel.from_pretrained(
            model, revision=revision, use_safetensors=True, local_files_only=Path(model).is_dir()
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"model={model!r} cannot be loaded: {_explain(model, error)}") from error
    return drop_pooler(loaded, pooling)


def drop_pooler(backbone: Any, pooling: str) -> Any:
    """Leave out a pooler that nobody reads: no gradient would ever reach it."""
    if pooling != "pooler" and getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return backbone


def _explain(model: str, error: Exception) -> str:
    if Path(model).is_dir():
        return f"the folder needs config.json and model.safetensors ({error})."
    return f"give a folder, or a hub name that can be reached and has safetensors weights ({error})."


def check_pooling(pooling: str) -> str:
    """Return `pooling`, or raise `ConfigError`."""
    if pooling not in POOLING:
        raise ConfigError(f"pooling={pooling!r}.{did_you_mean(pooling, POOLING)}")
    return pooling


def pool(hidden: Tensor, mask: Tensor, pooling: str, pooler: Tensor | None) -> Tensor:
    """Tokens (B, T, D) and their mask (B, T) → (B, D): mean, first, last kept token, or the model's own pooler."""
    if pooling == "pooler":
        if pooler is None:
            raise ConfigError("pooling='pooler': this model has no pooler; use 'mean', 'cls' or 'last'.")
        return pooler
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = mask.sum(1).clamp(min=1) - 1
        return hidden[range(len(hidden)), last]
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def layers_of(backbone: nn.Module) -> Sequence[nn.Module]:
    """The transformer layers, from input to output: the longest list of equal modules."""
    lists = [list(m) for m in backbone.modules() if isinstance(m, nn.ModuleList)]
    equal = [layers for layers in lists if len({type(layer) for layer in layers}) == 1]
    return max(equal, key=len) if equal else list(backbone.children())
