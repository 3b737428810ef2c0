"""What a cached feature was made from, as one number: code, options, weights, signal, data, views and seed.

Note:
    Code is the encoder's own four functions, not what they call; a change further down goes unseen.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch

from pairalign.core.encoder import Encoder


def weights_fingerprint(encoder: Encoder) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of every weight and buffer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cache_fingerprint(
    encoder: Encoder, options: Mapping[str, Any], content_hash: str, views: int, seed: int, part: str = ""
) -> str:
    """SHA-256 over all that decides a cached feature: code, options, weights, signal, data, number of views, seed.

    part: which split of the data, and which field of it.
    """
    what = {
        "code": [_source(getattr(type(encoder), name)) for name in ("preprocess", "augment", "view", "forward")],
        "encoder": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
        "options": dict(options),
        "signal": str(encoder.signal),
        "weights": weights_fingerprint(encoder),
        "content": content_hash,
        "views": views,
        "seed": seed,
        "part": part,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # defined interactively
        return str(function.__code__.co_code.hex())
