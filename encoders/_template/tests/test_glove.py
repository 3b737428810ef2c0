"""The glove keeps every promise of the encoder contract."""

from __future__ import annotations

from pairalign_glove import Glove

from pairalign.core.contract import check_encoder


def test_the_glove_keeps_the_contract() -> None:
    broken = [promise for promise in check_encoder(Glove()) if not promise.kept]
    assert not broken, broken
