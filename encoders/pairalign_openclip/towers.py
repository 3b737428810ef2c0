"""Build one tower of an open_clip model: by name and weights, or from a configuration, small ones included.

Note:
    `pretrained` is a tag of open_clip or the path of a file; a `.pt` file is read without unpickling code. Weights are
    float32 whatever the dtype that is stored, as heads are; `train.precision` says what computes in 16 bits.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip

from pairalign.core.errors import ConfigError, did_you_mean

VOCABULARY, CONTEXT = 1024, 24

_TEXT = {
    "context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 64, "heads": 4, "layers": 2, "pool_type": "argmax",
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 12, "head_width": 64},
        "text_cfg": _TEXT,
    },
    "tiny-vit": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": 48,
            "layers": 3,
            "width": 96,
            "head_width": 32,
            "patch_size": 8,
            "pool_type": "avg",
        },
        "text_cfg": _TEXT,
    },
}


def load_model(model: str | None, pretrained: str | None, config: str | dict[str, Any] | None) -> Any:
    """An open_clip model with separate towers `visual` and `text`; raise `ConfigError` for what cannot be built.

    model: a registered name such as "ViT-L-14", or open_clip's "hf-hub:org/repo" and "local-dir:/path". pretrained: a
    tag or a local file; `None` for random weights. config: "tiny", "tiny-vit", or a mapping of embed_dim,
    vision_cfg, text_cfg.
    """
    if (model is None) == (config is None):
        raise ConfigError(f"model={model!r} and config={config!r}: give exactly one of them.")
    if config is not None:
        return open_clip.CustomTextCLIP(**_configuration(config)).float()
    assert model is not None
    if ":" not in model and model not in open_clip.list_models():
        raise ConfigError(f"open_clip has no model {model!r}.{did_you_mean(model, open_clip.list_models())}")
    if pretrained and ("/" in pretrained or Path(pretrained).suffix) and not Path(pretrained).is_file():
        raise ConfigError(f"pretrained={pretrained!r} is no file: give a checkpoint file, or a tag of open_clip.")
    try:
        loaded = open_clip.create_model(
            model, pretrained=pretrained, force_custom_text=True, weights_only=True, require_pretrained=bool(pretrained)
        )
        return loaded.float()
    except Exception as error:  # hub, file and unpickling errors are of many kinds
        raise ConfigError(
            f"open_clip model {model!r} with pretrained={pretrained!r} cannot be loaded ({error}): "
            "check the tag, the file, or the network."
        ) from error


def _configuration(config: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(config, str):
        if config not in TINY:
            raise ConfigError(f"config={config!r}.{did_you_mean(config, TINY)}")
        config = TINY[config]
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise ConfigError(f"config of an open_clip model lacks {', '.join(sorted(missing))}: add it.")
    return deepcopy({name: config[name] for name in ("embed_dim", "vision_cfg", "text_cfg")})


def restorable(pretrained: str | None, model: str | None) -> bool:
    """True if the weights come back from where they came."""
    return bool(pretrained) or bool(model and ":" in model)
