"""The contrast of each pair averages to the loss of the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pairalign.align.contrastive import info_nce, sigmoid_loss
from pairalign.align.rows import row_contrast


@pytest.mark.parametrize("chunk", [3, 64])
@pytest.mark.parametrize("mode", ["mask", "positive", "keep"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_mean_over_rows_is_the_loss(mode: Any, chunk: int, sigmoid: bool) -> None:
    torch.manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(10, 4), dim=1) for _ in range(2))
    options: dict[str, Any] = {"ids_a": torch.arange(10) % 8, "ids_b": torch.arange(10), "false_negatives": mode}
    scale, bias = torch.tensor(7.0), torch.tensor(-3.0)
    rows = row_contrast(a, b, scale, bias if sigmoid else None, chunk=chunk, **options)
    whole = sigmoid_loss(a, b, scale, bias, **options) if sigmoid else info_nce(a, b, scale, **options)
    assert rows.shape == (10,)
    torch.testing.assert_close(rows.mean(), whole)
