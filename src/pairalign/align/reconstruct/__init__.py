"""The reconstruction term of stage one: one decoder per kind of signal, all errors on one scale.

Source: within-modality reconstruction of "Multimodal LLMs under Pairwise Modalities" (2026,
arXiv:2605.21059). Each decoder's `error` is divided by the spread of its targets, so that a latent that says
nothing scores about 1.0 and a perfect one 0.0, whatever the sensor and its unit; terms of different sensors
can then be added.

Note:
    A score well above 1.0 means that targets and decoder do not fit, not that training needs more time.
"""

from __future__ import annotations

from pairalign.align.reconstruct.build import KINDS, build_decoder, default_kind
from pairalign.align.reconstruct.chamfer import chamfer_distance, chamfer_error
from pairalign.align.reconstruct.decoder import Decoder
from pairalign.align.reconstruct.features import feature_error
from pairalign.align.reconstruct.patches import patch_error
from pairalign.align.reconstruct.tokens import token_error
from pairalign.align.reconstruct.values import value_error

__all__ = [
    "KINDS",
    "Decoder",
    "build_decoder",
    "chamfer_distance",
    "chamfer_error",
    "default_kind",
    "feature_error",
    "patch_error",
    "token_error",
    "value_error",
]
