"""The promises that every encoder makes, checked on a real one: what `pairalign encoders check` and the tests run.

Note:
    An encoder may train well and still break one of these, and then caching, resuming or shipping it goes wrong without
    a word. Each check stands alone: one broken promise does not hide the next.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.author import told
from pairalign.core.encoder import Encoder
from pairalign.core.types import Features, Signal

ROWS = 5
CARD = ("licence", "preprocessing", "sources")


@dataclass(frozen=True)
class Promise:
    """One promise: kept, or broken with the detail."""

    name: str
    kept: bool
    detail: str = ""


def check_encoder(encoder: Encoder, samples: Sequence[Any] | None = None, *, seed: int = 0) -> list[Promise]:
    """Check every promise of a built encoder where it is, on raw `samples` or on samples drawn from its `Signal`."""
    samples = list(samples) if samples else draw_samples(encoder.signal, ROWS, seed)
    found = []
    for name, check in PROMISES.items():
        torch.manual_seed(seed)
        try:
            detail = check(encoder, samples)
        except Exception as error:  # an encoder may raise anything: that is what is being checked
            detail = told(error)
        found.append(Promise(name, not detail, detail or ""))
    return found


def draw_samples(signal: Signal, count: int, seed: int = 0) -> list[Any]:
    """Random raw samples that a declared signal would accept: pictures, clouds, series, captions or vectors."""
    rng = np.random.default_rng(seed)
    if signal.kind == "text":
        words = ["a", "small", "soft", "red", "ball", "that", "feels", "smooth", "hard", "cube"]
        return [" ".join(rng.choice(words, 6)) for _ in range(count)]
    if signal.kind == "image":
        named = dict(zip(signal.axes, signal.shape, strict=True)) if signal.axes else {}
        longest = max((size for size in signal.shape if size), default=32)
        height, width = (named.get(axis) or longest for axis in ("height", "width"))
        colours = () if named.get("channel") == 1 else (3,)
        return [rng.integers(0, 256, (height, width, *colours), dtype=np.uint8) for _ in range(count)]
    low, high = signal.range or (-1.0, 1.0)
    sizes = [16 if size is None else size for size in signal.shape]
    found = [rng.uniform(low, high, sizes).astype(signal.dtype) for _ in range(count)]
    if signal.kind == "points" and signal.axes:
        for cloud in found:
            _as_claimed(cloud, signal.axes[-1])
    return found


def _as_claimed(cloud: np.ndarray, columns: str) -> None:
    """Make unit normals and colours in [0, 1] of the columns of a cloud that are called so, as "xyznormal"."""
    if "normal" in columns:
        normals = cloud[:, columns.index("normal") :][:, :3]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    if "rgb" in columns:
        colours = cloud[:, columns.replace("normal", "uvw").index("rgb") :][:, :3]
        np.abs(colours, out=colours)


def _batch(encoder: Encoder, samples: Sequence[Any]) -> Any:
    device = next((tensor.device for tensor in encoder.state_dict().values()), torch.device("cpu"))
    return encoder.collate([encoder.preprocess(sample) for sample in samples]).to(device)


def _signal(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    for sample in samples:
        encoder.signal.check(encoder.preprocess(sample), "preprocess()")
    batch = _batch(encoder, samples)
    if isinstance(batch, Tensor):
        encoder.signal.check(batch, "collate()", batched=True)
        return None
    target = encoder.as_float(batch)
    if getattr(batch, "num_graphs", None) != len(samples) or len(target) != len(samples):
        return f"collate() gives no tensor: num_graphs and as_float() must tell of {len(samples)} samples."
    return None


def _preprocess_repeats(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    first, second = encoder.preprocess(samples[0]), encoder.preprocess(samples[0])
    return (
        None if torch.equal(first, second) else "preprocess() gives another result the second time: draw in augment()."
    )


def _features(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    encoder.eval()
    batch = _batch(encoder, samples)
    features = encoder(batch)
    if not isinstance(features, Features):
        return f"forward() returns {type(features).__name__}: return Features(tokens, pooled)."
    wanted = (len(samples), encoder.width)
    if tuple(features.pooled.shape) != wanted:
        return f"pooled has shape {tuple(features.pooled.shape)}, not {wanted}."
    if features.tokens.ndim != 3 or wanted != (features.tokens.shape[0], features.tokens.shape[2]):
        return f"tokens have shape {tuple(features.tokens.shape)}, not ({wanted[0]}, T, {wanted[1]})."
    if not (features.tokens.isfinite().all() and features.pooled.isfinite().all()):
        return "features hold NaN or infinity."
    return None


def _gradients(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    encoder.train()
    features = encoder(_batch(encoder, samples))
    trainable = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    if not trainable:
        return None
    weights = torch.randn_like(features.pooled)
    loss = (features.pooled * weights).sum() + (features.tokens * torch.randn_like(features.tokens)).sum()
    grads = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    dead = [name for name, grad in zip(trainable, grads, strict=True) if grad is None]
    return f"no gradient reaches {', '.join(dead[:3])}: use it in forward() or remove it." if dead else None


def _saves(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    from copy import deepcopy

    from safetensors.torch import load, save

    encoder.eval()
    batch = _batch(encoder, samples)
    before = encoder(batch).pooled
    state = {name: tensor.contiguous().clone() for name, tensor in encoder.state_dict().items()}
    other = deepcopy(encoder)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()
    other.load_state_dict(load(save(state)))
    return None if torch.equal(other.eval()(batch).pooled, before) else "features differ after saving and loading."


def _evaluation_repeats(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    encoder.eval()
    batch = _batch(encoder, samples)
    same = torch.equal(encoder(batch).pooled, encoder(batch).pooled)
    return None if same else "evaluation mode gives another result the second time: dropout or noise is still on."


def _batch_sizes(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    encoder.eval()
    batch = _batch(encoder, samples)
    whole = encoder(batch).pooled.detach()
    for size in (1, 2):
        part = encoder(_batch(encoder, samples[:size])).pooled.detach()
        scale = float(whole.abs().max()) + 1e-6
        if float((part - whole[:size]).abs().max()) > 1e-3 * scale:
            return f"a batch of {size} gives other features than the same samples in a batch of {len(samples)}."
    return None


def _augment(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    value = encoder.preprocess(samples[0])
    views: list[torch.Tensor] = []
    for _ in range(2):
        torch.manual_seed(len(views))  # the global generator must not matter
        views.append(encoder.augment(value.clone(), torch.Generator().manual_seed(7)))
    if not torch.equal(views[0], views[1]):
        return "augment() draws from somewhere else than its generator, so a resumed run would differ."
    encoder.signal.check(views[0], "augment()")
    view = encoder.view(samples[0], torch.Generator().manual_seed(7))
    encoder.compact_signal.check(view, "view()")
    encoder.compact_signal.check(encoder.compact(samples[0]), "compact()")
    return None


def _card(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    missing = [entry for entry in CARD if not encoder.card.get(entry)]
    return f"the card lacks {', '.join(missing)}: set `card` or use load_card()." if missing else None


def _freezes(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    before = [p.requires_grad for p in encoder.parameters()]
    try:
        encoder.tune("none")
        encoder.train()
        training = [name for name, module in encoder.named_modules() if module.training]
        return f"frozen, but {training[0] or 'itself'} stays in training mode." if training else None
    finally:
        for parameter, wanted in zip(encoder.parameters(), before, strict=True):
            parameter.requires_grad_(wanted)


def _documented(encoder: Encoder, samples: Sequence[Any]) -> str | None:
    return (
        None if inspect.getdoc(type(encoder)) not in (None, inspect.getdoc(Encoder)) else "the class has no docstring."
    )


PROMISES: dict[str, Callable[[Encoder, Sequence[Any]], str | None]] = {
    "preprocess keeps the declared signal": _signal,
    "preprocess repeats": _preprocess_repeats,
    "features have the declared shapes": _features,
    "gradients reach every trainable parameter": _gradients,
    "save and load is bit-equal": _saves,
    "evaluation mode is deterministic": _evaluation_repeats,
    "any batch size gives the same features": _batch_sizes,
    "augment keeps the signal and its generator": _augment,
    "a frozen encoder stays in evaluation mode": _freezes,
    "the card states licence, preprocessing, sources": _card,
    "the class is documented": _documented,
}
