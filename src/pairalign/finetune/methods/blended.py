"""Full tuning whose weights are put together with the base's at the end, and measured so on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.method import decoder_parameters, remembered


class Blended(Full):
    """`finish` blends with `start`, the base's decoder."""

    blends = True

    @contextmanager
    def settled(self, llm: nn.Module) -> Iterator[None]:
        """Blended, for as long as it lasts."""
        with remembered(decoder_parameters(llm)):
            self.finish(llm)
            yield
