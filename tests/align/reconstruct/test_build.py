"""Which decoder a signal gets, and what is said when it fits none."""

from __future__ import annotations

import pytest

from pairalign.align.reconstruct import build_decoder, default_kind
from pairalign.core.errors import ConfigError
from pairalign.core.types import Signal

IMAGE = Signal("image", (3, 16, 16))
TEXT = Signal("text", (8,), dtype="int64")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("image", "patches"),
        ("series", "patches"),
        ("points", "chamfer"),
        ("text", "tokens"),
        ("vector", "values"),
    ],
)
def test_defaults(kind, expected):
    assert default_kind(Signal(kind, (3, 3)), frozen=False) == expected
    assert default_kind(Signal(kind, (3, 3)), frozen=True) == "features"


def test_vocabulary_from_the_argument_or_the_range():
    assert build_decoder("tokens", TEXT, 4, features=50).mean.shape == (50,)
    assert build_decoder("tokens", Signal("text", (8,), range=(0, 49)), 4).mean.shape == (50,)
    assert build_decoder("tokens", TEXT, 4, features=49_408).mean.shape == (8192,)


@pytest.mark.parametrize(
    ("kind", "signal", "message"),
    [
        ("patch", IMAGE, "reconstruct='patch' is not known. Did you mean 'patches'"),
        ("chamfer", IMAGE, "is for points, the signal is 'image': use 'patches'"),
        ("patches", TEXT, "is for image and series, the signal is 'text'"),
        ("values", IMAGE, "is for vector, the signal is 'image'"),
        ("tokens", IMAGE, "is for text, the signal is 'image'"),
        ("features", IMAGE, "features=None: give the size of the target .the encoder's width"),
        ("tokens", TEXT, "features=None: give the size of the target .the encoder's vocabulary"),
    ],
)
def test_what_does_not_fit_is_refused(kind, signal, message):
    with pytest.raises(ConfigError, match=message):
        build_decoder(kind, signal, latent=4)
