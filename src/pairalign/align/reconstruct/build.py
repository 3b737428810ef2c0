"""Choose and build the decoder that fits a signal.

Source: DESIGN's defaults: patches for images and series, Chamfer distance for point sets, own features for a
frozen tower.

Note:
    `features` is a width for "features" and the size of the vocabulary for "tokens".
"""

from __future__ import annotations

from pairalign.align.reconstruct.chamfer import ChamferDecoder
from pairalign.align.reconstruct.decoder import Decoder
from pairalign.align.reconstruct.features import FeatureDecoder
from pairalign.align.reconstruct.patches import PatchDecoder
from pairalign.align.reconstruct.tokens import TokenDecoder
from pairalign.align.reconstruct.values import ValueDecoder
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.core.types import Signal

KINDS = ("patches", "chamfer", "features", "tokens", "values")

_FITS = {"patches": ("image", "series"), "chamfer": ("points",), "tokens": ("text",), "values": ("vector",)}
_DEFAULTS = {
    "image": "patches",
    "series": "patches",
    "points": "chamfer",
    "text": "tokens",
    "vector": "values",
}


def default_kind(signal: Signal, frozen: bool) -> str:
    """Return what is reconstructed where the encoder does not say: own features if frozen, else by signal."""
    return "features" if frozen else _DEFAULTS[signal.kind]


def build_decoder(kind: str, signal: Signal, latent: int, features: int | None = None) -> Decoder:
    """Return the decoder of `kind` from latents of size `latent` to `signal`.

    features: width of the frozen tower for "features"; number of token ids for "tokens", where the default is
        read from the inclusive upper end of `signal.range`.

    Raises:
        ConfigError: an unknown kind, one that does not fit the signal, or a size that is missing.
    """
    if kind not in KINDS:
        raise ConfigError(f"reconstruct={kind!r} is not known.{did_you_mean(kind, (*KINDS, 'none'))}")
    if kind == "features":
        return FeatureDecoder(_size(features, kind, "the encoder's width"), latent)
    if signal.kind not in _FITS[kind]:
        raise ConfigError(
            f"reconstruct={kind!r} is for {' and '.join(_FITS[kind])}, the signal is {signal.kind!r}: use"
            f' {default_kind(signal, frozen=False)!r}, "features" or "none".'
        )
    if kind == "tokens":
        if features is None and signal.range is not None:
            features = int(signal.range[1]) + 1
        return TokenDecoder(_size(features, kind, "the encoder's vocabulary, or Signal(range=(0, largest id))"), latent)
    if kind == "patches":
        return PatchDecoder(signal, latent)
    return ChamferDecoder(signal, latent) if kind == "chamfer" else ValueDecoder(signal, latent)


def _size(features: int | None, kind: str, source: str) -> int:
    if features is None or features < 1:
        raise ConfigError(f"reconstruct={kind!r} got features={features}: give the size of the target ({source}).")
    return features
