"""The one class that a sensor author subclasses.

Declare a `Signal`, write `forward`, register it, done:

    @register_encoder("glove")
    class Glove(Encoder):
        signal = Signal("series", (16, 100), unit="kPa", rate=100.0, axes=("taxel", "time"))

        def __init__(self, width: int = 128):
            super().__init__(width)
            self.net = nn.Conv1d(16, width, kernel_size=9, stride=4)

        def forward(self, batch):
            tokens = self.net(batch).transpose(1, 2)
            return Features(tokens, tokens.mean(1))

Where it bites: `preprocess` sees one raw sample and must not draw random numbers (that is `augment`'s job), or
cached anchors and evaluation would not repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pairalign.core.errors import SignalError
from pairalign.core.narrowing import check_range, narrowed
from pairalign.core.types import Features, Signal


class Encoder(nn.Module):
    """Base of every encoder.

    Class or instance attributes:
        signal: the declared `Signal` of one preprocessed sample.
        reconstruct: what stage one reconstructs: "patches", "chamfer", "features", "tokens", "values", "none", or
            `None` for the default of the signal's kind (see `pairalign.align.reconstruct`).
        card: licence, preprocessing, sources: what a user must know before shipping the encoder.
    """

    signal: Signal
    reconstruct: str | None = None
    card: ClassVar[dict[str, Any]] = {}
    sensors: tuple[str, ...] = ()
    """Makes of sensors that the encoder tells apart, if any; `conform` is told a data set's as `recorded["sensor"]`."""
    vocabulary: int | None = None
    """Number of token ids, where the signal is text."""
    restorable: bool = False
    """True if building it again with the same options gives the same weights (a hub name, a local folder): a frozen
    tower that is restorable is not written into checkpoints again, only its fingerprint."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "compact" not in vars(cls) and {"preprocess", "augment", "forward"} & set(vars(cls)):
            for name in ("compact", "compact_signal"):
                setattr(cls, name, vars(Encoder)[name])

    def __init__(self, width: int) -> None:
        """`width`: D, the size of `Features.tokens` and `Features.pooled`."""
        super().__init__()
        self.width = width

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Compare what an index records of a modality (axes, shape, up, …) with what this encoder reads; raise
        `SignalError` where it cannot, and return what a user should know. learn: it is about to be trained on that
        data. Unit and rate are compared without it. Default: whether the range survives `preprocess` as it is here.
        """
        plain, known = type(self).preprocess is Encoder.preprocess, recorded.get("range")
        if plain and known and getattr(torch, self.signal.dtype).is_floating_point:
            check_range(float(known[0]), float(known[1]), self.signal.dtype, where)
        return []

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A raw value as `preprocess` takes it, where that depends on what the index records of its modality, as which
        axis is up. Default: itself.
        """
        return raw

    def preprocess(self, raw: Any) -> Tensor:
        """Turn one raw sample (array, PIL image, string, …) into a tensor that keeps the declared `Signal`."""
        return narrowed(raw, self.signal.dtype)

    @property
    def compact_signal(self) -> Signal:
        """What `compact` gives. Default: `signal`."""
        return self.signal

    def compact(self, raw: Any) -> Tensor:
        """What `preprocess` makes of a raw sample, as training keeps it until it is in a batch. Default: the same.

        Override it where that can be smaller, such as pictures of bytes (`pairalign.core.pixels`), with `augment` and
        `forward` that take both. A subclass that overrides `preprocess`, `augment` or `forward` alone has the default.
        """
        return self.preprocess(raw)

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random training view of one sample that `preprocess` or `compact` made; draws only from `generator`.
        Default: itself.
        """
        return value

    def view(self, raw: Any, generator: torch.Generator) -> Tensor:
        """A random training view of a raw sample; override where it is made from the raw value, as a paraphrase is."""
        return self.augment(self.compact(raw), generator)

    def collate(self, values: Sequence[Tensor]) -> Any:
        """Stack samples into a batch; override where sizes are free. What is no tensor has `to(device)`, and in
        `num_graphs` its number of samples, as a `Batch` of torch-geometric.
        """
        return torch.stack(list(values))

    def seen(self, raw: Any) -> Any:
        """The part of a raw sample that `preprocess` reads: of a caption that is cut, its beginning. Default: all."""
        return raw

    def overlong(self, raw: Any) -> int:
        """How many of a raw sample's tokens `preprocess` cuts off; override where it cuts. Default: none."""
        return 0

    def as_float(self, batch: Any) -> Tensor:
        """The numbers of a batch that are reconstructed, (B, …); override where `collate` makes no tensor, or where
        `compact` keeps samples smaller than `forward` computes with them. Default: itself.
        """
        return batch

    def forward(self, batch: Tensor) -> Features:
        """Map a batch (B, *signal.shape) to `Features(tokens (B, T, D), pooled (B, D))`."""
        raise SignalError(f"{type(self).__name__} has no forward(): write one that returns Features(tokens, pooled).")

    @classmethod
    def bare(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that build the same encoder without fetching its weights, which come from elsewhere then, as a
        pack's do. Default: the same.
        """
        return dict(options)

    @property
    def frozen(self) -> bool:
        """True if no parameter is trained: then its features can be cached (see `pairalign.align.cache`)."""
        return not any(p.requires_grad for p in self.parameters())

    def tune(self, how: str | int) -> None:
        """Choose what trains: "all", "none", or the number n of last blocks (needs `blocks()`)."""
        if how in ("all", "none"):
            self.requires_grad_(how == "all")
            return
        blocks = self.blocks()
        if not isinstance(how, int) or isinstance(how, bool) or not 0 < how <= len(blocks):
            raise SignalError(
                f"tune={how!r}: use 'all', 'none', or a number of last blocks from 1 to {len(blocks)} "
                f"that {type(self).__name__}.blocks() lists."
            )
        self.requires_grad_(False)
        for block in blocks[-how:]:
            block.requires_grad_(True)

    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in order from input to output, for partial tuning. Default: the direct children."""
        return list(self.children())

    def train(self, mode: bool = True) -> Encoder:
        """What is frozen, whole or in part, stays in evaluation mode: no dropout, no moving batch statistics."""
        super().train(mode and not self.frozen)
        for module in self.modules() if self.training else ():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                nn.Module.train(module, False)
        return self
