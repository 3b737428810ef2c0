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

Note:
    `preprocess` sees one raw sample and must not draw random numbers (that is `augment`'s job), or cached anchors and
    evaluation would not repeat.
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

    What a subclass declares, for the class or in each instance:

    - `signal`: the `Signal` of one preprocessed sample. - `reconstruct`: what stage one reconstructs: "patches",
    "chamfer", "features", "tokens", "values", "none", or `None` for the default of the signal's kind (see
    `pairalign.align.reconstruct`). - `card`: licence, preprocessing, sources: what a user must know before shipping the
    encoder.

    Args:
        width: D, the size of `Features.tokens` and `Features.pooled`.

    Note:
        `preprocess` sees one raw sample and must not draw random numbers (that is `augment`'s job), or cached anchors
        and evaluation would not repeat.

    Example:
        >>> import torch
        >>> from pairalign import Encoder, Features, Signal
        >>> class Thermometer(Encoder):
        ...     signal = Signal("series", (1, 20), unit="K", rate=10.0, axes=("channel", "time"))
        ...     def __init__(self, width: int = 8):
        ...         super().__init__(width)
        ...         self.net = torch.nn.Linear(1, width)
        ...     def forward(self, batch):
        ...         tokens = self.net(batch.transpose(1, 2))
        ...         return Features(tokens, tokens.mean(1))
        >>> Thermometer()(torch.zeros(4, 1, 20)).tokens.shape
        torch.Size([4, 20, 8])
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
        """Start an encoder.

        Args:
            width: D, the size of `Features.tokens` and `Features.pooled`.
        """
        super().__init__()
        self.width = width

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Compare what an index records of a modality (axes, shape, up, …) with what this encoder reads.

        Unit and rate are compared without it. Default: whether the range survives `preprocess` as it is here.

        Args:
            recorded: what the index says of the modality.
            where: what an error calls the data.
            learn: it is about to be trained on that data.

        Returns:
            What a user should know.

        Raises:
            SignalError: where it cannot read the data.
        """
        plain, known = type(self).preprocess is Encoder.preprocess, recorded.get("range")
        if plain and known and getattr(torch, self.signal.dtype).is_floating_point:
            check_range(float(known[0]), float(known[1]), self.signal.dtype, where)
        return []

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A raw value as `preprocess` takes it, where that depends on what the index records of its modality, as which
        axis is up. Default: itself.

        Args:
            raw: one sample.
            recorded: what the index says of the modality.
        """
        return raw

    def preprocess(self, raw: Any) -> Tensor:
        """Turn one raw sample into a tensor that keeps the declared `Signal`.

        Args:
            raw: an array, a PIL image, a string, ….
        """
        return narrowed(raw, self.signal.dtype)

    @property
    def compact_signal(self) -> Signal:
        """What `compact` gives. Default: `signal`."""
        return self.signal

    def compact(self, raw: Any) -> Tensor:
        """What `preprocess` makes of a raw sample, as training keeps it until it is in a batch. Default: the same.

        Override it where that can be smaller, such as pictures of bytes (`pairalign.core.pixels`), with `augment` and
        `forward` that take both. A subclass that overrides `preprocess`, `augment` or `forward` alone has the default.

        Args:
            raw: as of `preprocess`.
        """
        return self.preprocess(raw)

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """A random training view of one sample. Default: itself.

        Args:
            value: what `preprocess` or `compact` made.
            generator: the only source of what is drawn.
        """
        return value

    def view(self, raw: Any, generator: torch.Generator) -> Tensor:
        """A random training view of a raw sample; override where it is made from the raw value, as a paraphrase is.

        Args:
            raw: as of `preprocess`.
            generator: the only source of what is drawn.
        """
        return self.augment(self.compact(raw), generator)

    def collate(self, values: Sequence[Tensor]) -> Any:
        """Stack samples into a batch; override where sizes are free. What is no tensor has `to(device)`, and in
        `num_graphs` its number of samples, as a `Batch` of torch-geometric.

        Args:
            values: samples as `preprocess` or `compact` made them.
        """
        return torch.stack(list(values))

    def seen(self, raw: Any) -> Any:
        """The part of a raw sample that `preprocess` reads: of a caption that is cut, its beginning. Default: all.

        Args:
            raw: as of `preprocess`.
        """
        return raw

    def overlong(self, raw: Any) -> int:
        """How many of a raw sample's tokens `preprocess` cuts off; override where it cuts. Default: none.

        Args:
            raw: as of `preprocess`.
        """
        return 0

    def as_float(self, batch: Any) -> Tensor:
        """The numbers of a batch that are reconstructed, (B, …); override where `collate` makes no tensor, or where
        `compact` keeps samples smaller than `forward` computes with them. Default: itself.

        Args:
            batch: what `collate` made.
        """
        return batch

    def forward(self, batch: Tensor) -> Features:
        """Map a batch to its features.

        Args:
            batch: (B, *signal.shape).

        Returns:
            `Features(tokens (B, T, D), pooled (B, D))`.
        """
        raise SignalError(f"{type(self).__name__} has no forward(): write one that returns Features(tokens, pooled).")

    @classmethod
    def bare(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that build the same encoder without fetching its weights, which come from elsewhere then, as a
        pack's do. Default: the same.

        Args:
            options: with which it was built.
        """
        return dict(options)

    @property
    def frozen(self) -> bool:
        """True if no parameter is trained: then its features can be cached (see `pairalign.align.cache`)."""
        return not any(p.requires_grad for p in self.parameters())

    def tune(self, how: str | int) -> None:
        """Choose what trains.

        Args:
            how: "all", "none", or the number n of last blocks (needs `blocks()`).
        """
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
        """What is frozen, whole or in part, stays in evaluation mode: no dropout, no moving batch statistics.

        Args:
            mode: whether the rest is in training mode.
        """
        super().train(mode and not self.frozen)
        for module in self.modules() if self.training else ():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                nn.Module.train(module, False)
        return self
