"""Choose the dormant part of every weight from significance scores: two settings say everything.

structure: what is chosen as one piece. "weights" single entries; "n:m", for example "1:4", n of every m neighbouring
inputs; "rows" an output with all its inputs; "columns" an input; "neurons" an activation of an MLP and its weights, see
`neurons`. budget: where the share `density` is counted out: "per_row" of an output row (entries only),
"per_matrix", "global" over all matrices, "owl" per matrix with one share for each decoder layer, lower where more of
the layer's scores are outliers (Yin et al. 2024, arXiv:2310.05175).
The lowest scores are chosen: exactly k of them, and among equal scores those that come first.

Note:
    N:m says its own density, n / m; `density` is then not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pairalign.core.errors import DormantError
from pairalign.dormant.config import Budget
from pairalign.dormant.linears import layer_name
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.units import lowest, lowest_of_all, pieces_of

Scores = Mapping[str, Tensor]
WHOLE = ("rows", "columns", "neurons")
UNSCORED = ("matrices", "directions")  # not chosen by scores of weights
LAST = 1e30  # above every score; its mean over a row is still finite


def select_dormant(
    scores: Scores,
    structure: str = "weights",
    budget: Budget = "per_matrix",
    density: float = 0.1,
    *,
    highest: bool = False,
    taken: Mapping[str, Tensor] | None = None,
    owl_outlier: float = 5.0,
    owl_spread: float = 0.08,
) -> dict[str, Mask]:
    """Masks by weight name, from scores (out, in) by weight name.

    `scores` may be any mapping that computes or reads a score when it is asked for; it is walked a few times.
    highest: choose the highest scores instead, as a control. taken: bool (out, in) by weight name of entries that
    another sensor owns, which come last. owl_outlier, owl_spread: M and λ of OWL.
    Raise `DormantError` for a density that leaves nothing dormant or nothing critical, for a budget that does not fit
    the structure, and for scores that are not finite matrices.
    """
    n_of_m = parse_n_of_m(structure)
    check_settings(structure, budget, density)
    if structure in UNSCORED:
        raise DormantError(f"structure={structure!r} is not chosen by scores of weights.")
    if not len(scores):
        raise DormantError("scores is empty: no weight was scored.")
    signed = _Checked(scores, -1.0 if highest else 1.0, taken or {})
    if n_of_m is not None:
        return {name: _n_of_m(name, signed[name], *n_of_m) for name in signed}
    if budget == "per_row":
        return {name: _per_row(name, signed[name], density) for name in signed}
    pieces = pieces_of(structure, list(scores))
    if budget == "global":
        chosen = lowest_of_all(lambda: pieces.scores(signed), density)
    else:
        shares = owl_shares(scores, density, owl_outlier, owl_spread) if budget == "owl" else {}
        chosen = {}
        for name, score in pieces.scores(signed):
            group = [shares.get(weight, density) for weight in pieces.groups[name]]
            chosen[name] = lowest(score, count_out(name, sum(group) / len(group), len(score), "pieces"))
    return {w: mask for name, flat in chosen.items() for w, mask in pieces.masks(name, flat, signed.shape)}


def check_settings(structure: str, budget: str, density: float) -> None:
    """Raise `DormantError` if the three do not fit each other."""
    n_of_m = parse_n_of_m(structure)
    if n_of_m is None and structure not in ("weights", *WHOLE, *UNSCORED):
        known = ", ".join(("weights", "n:m such as 1:4", *WHOLE, *UNSCORED))
        raise DormantError(f"structure={structure!r}: choose one of {known}.")
    if n_of_m is None and structure != "matrices" and not 0 < density < 1:
        raise DormantError(f"density={density}: it must lie between 0 and 1, both excluded.")
    if n_of_m is not None and budget != "per_row":
        raise DormantError(f"budget={budget!r}: structure {structure!r} counts within each row: use budget='per_row'.")
    if structure in (*WHOLE, *UNSCORED) and budget == "per_row":
        raise DormantError(f"budget='per_row': {structure} are whole pieces: use per_matrix, global or owl.")


def parse_n_of_m(structure: str) -> tuple[int, int] | None:
    """(n, m) of a structure such as "2:4", else `None`."""
    n, colon, m = structure.partition(":")
    if not colon:
        return None
    if not (n.isdigit() and m.isdigit() and 0 < int(n) < int(m)):
        raise DormantError(f"structure={structure!r}: write n:m with 0 < n < m, for example '1:4'.")
    return int(n), int(m)


def owl_shares(scores: Scores, density: float, outlier: float = 5.0, spread: float = 0.08) -> dict[str, float]:
    """Dormant share of each matrix, the same for all of a decoder layer: `density` on average over layers, less where
    more of a layer's scores exceed `outlier` times their mean.

    The share of outliers is taken over all matrices of the layer together; a matrix outside of layers counts alone.
    """
    layers: dict[str, list[str]] = {}
    for name in scores:
        layers.setdefault(layer_name(name) or name, []).append(name)
    ratios = {layer: _outliers([scores[name] for name in names], outlier) for layer, names in layers.items()}
    low, high = min(ratios.values()), max(ratios.values())
    kept = {layer: 2 * spread * (ratio - low) / ((high - low) or 1.0) for layer, ratio in ratios.items()}
    mean = sum(kept.values()) / len(kept)
    found = {name: density + mean - kept[layer] for layer, names in layers.items() for name in names}
    for name, share in found.items():
        if not 0 < share < 1:
            raise DormantError(
                f"owl_spread={spread}: at density={density} it leaves {name} a dormant share of {share:.3f}. Lower it."
            )
    return {name: found[name] for name in scores}


def _outliers(scores: Sequence[Tensor], outlier: float) -> float:
    """Share of the entries of all `scores` that exceed `outlier` times the mean of all."""
    size = sum(score.numel() for score in scores)
    bound = outlier * sum(float(score.double().sum()) for score in scores) / size
    return sum(int((score > bound).sum()) for score in scores) / size


def count_out(name: str, density: float, size: int, what: str) -> int:
    """The number nearest to `density` · `size`; raise `DormantError` if that is none or all."""
    k = round(density * size)
    if not 0 < k < size:
        raise DormantError(
            f"density={density:g}: of {size} {what} of {name} it takes {k}. Give more than {0.5 / size:.2g} and less "
            f"than {1 - 0.5 / size:.4g}."
        )
    return k


def _per_row(name: str, score: Tensor, density: float) -> Mask:
    k = count_out(name, density, score.shape[1], "inputs of a row")
    order = score.argsort(dim=1, stable=True)[:, :k]
    chosen = torch.zeros(score.shape, dtype=torch.bool, device=score.device).scatter_(1, order, True)
    return Mask("entries", (score.shape[0], score.shape[1]), chosen)


def _n_of_m(name: str, score: Tensor, n: int, m: int) -> Mask:
    rows, columns = score.shape
    if columns % m:
        raise DormantError(f"structure='{n}:{m}': {name} has {columns} inputs, no multiple of {m}.")
    order = score.view(rows, -1, m).argsort(dim=2, stable=True)[..., :n]
    chosen = torch.zeros(rows, columns // m, m, dtype=torch.bool, device=score.device).scatter_(2, order, True)
    return Mask("entries", (rows, columns), chosen.view(rows, columns))


class _Checked(Mapping[str, Tensor]):
    """Scores as float32, looked at, with their shapes remembered."""

    def __init__(self, scores: Scores, sign: float, taken: Mapping[str, Tensor]) -> None:
        self.scores, self.sign, self.taken = scores, sign, taken
        self.shapes: dict[str, tuple[int, int]] = {}

    def __getitem__(self, name: str) -> Tensor:
        score = self.scores[name]
        if score.ndim != 2:
            raise DormantError(f"score of {name} has shape {tuple(score.shape)}: give (out, in), like its weight.")
        if not bool(score.isfinite().all()):
            raise DormantError(f"score of {name} is not finite: look at the calibration data.")
        self.shapes[name] = (score.shape[0], score.shape[1])
        signed = self.sign * score.float()
        return signed.masked_fill(self.taken[name], LAST) if name in self.taken else signed

    def shape(self, name: str) -> tuple[int, int]:
        return self.shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)
