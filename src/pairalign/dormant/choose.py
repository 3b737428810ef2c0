"""Which parts of which layers are dormant: settings and data in, masks or bases of directions out; nothing is changed.

What installed sensors own is left to them, and so is what packs own that are not installed here (`Reserved`).

Note:
    A sensor whose weights act from its own tokens on may share them with another such one, so that only what acts
    everywhere is taken from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.directions import Direction, Use, choose_basis
from pairalign.dormant.layer import DormantLinear
from pairalign.dormant.linears import find_linears
from pairalign.dormant.provenance import Seen
from pairalign.dormant.quantised import form_of, shape_of
from pairalign.dormant.reserved import Reserved
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.relevant import BY_MARK, check_choice, is_relevance, select_relevant
from pairalign.dormant.selection.select import check_settings, count_out, select_dormant
from pairalign.dormant.significance import Batch, ScoresOf, check_score, input_moments, score_model
from pairalign.dormant.updates import Columns, Entries, Replacement, Rows

REPLACEMENTS: dict[str, type[Rows] | type[Columns] | type[Entries]] = {
    "rows": Rows,
    "columns": Columns,
    "entries": Entries,
}
BESIDE = ("rows", "columns", "neurons", "directions")
"""Structures whose difference is added beside the base's own output, whatever that is stored as."""


class Chosen(NamedTuple):
    """What is dormant by module name, masks or orthonormal bases (in, r) of directions, what it was chosen by, and the
    sensors whose weights were left to them."""

    parts: Mapping[str, Mask | Tensor]
    scores: Mapping[str, Tensor] | None
    seen: Seen | None
    beside: tuple[str, ...] = ()


def choose_parts(
    base: nn.Module,
    config: DormantConfig,
    calibration: Iterable[Batch] | None = None,
    scores: Mapping[str, Tensor] | None = None,
    masks: Mapping[str, Mask] | None = None,
    reserved: Reserved | None = None,
) -> Chosen:
    """Choose as `get_dormant_model` does, which says what is given; the base is left as it is."""
    check_settings(config.structure, config.counted, config.density)
    check_score(config.score, config.options)
    if scores is None and masks is None:
        check_choice(config.score, config.structure, config.choose)
    linears = find_linears(base, config.target_modules, config.exclude_modules, config.layers_to_transform)
    check_forms(linears, config.structure)
    seen, beside = None if calibration is None else Seen(calibration), tuple(reserved.owned) if reserved else ()
    if config.structure == "directions":
        return Chosen(_directions(base, linears, config, seen, reserved), scores, seen, beside)
    if not masks and scores is None and config.structure != "matrices":
        scores = score_model(config.score, base, linears, seen, seed=config.seed, **config.options)
    chosen = masks or choose_masks(base, linears, config, seen, scores, reserved)
    if reserved is not None:
        reserved.check(chosen)
    return Chosen(chosen, scores, seen, beside)


def make_update(weight: Tensor, part: Mask | Tensor) -> Replacement | Direction:
    """The update of a layer whose whole weight (out, in) is given."""
    if isinstance(part, Mask):
        return REPLACEMENTS[part.kind](weight, part.index)
    return Direction(len(weight), part.to(weight.device))


def choose_masks(
    base: nn.Module,
    linears: Mapping[str, nn.Linear],
    config: DormantConfig,
    calibration: Iterable[Batch] | None = None,
    scores: Mapping[str, Tensor] | None = None,
    reserved: Reserved | None = None,
) -> dict[str, Mask]:
    """The dormant part of every layer, as the configuration says; what installed sensors own is left to them."""
    if config.structure == "matrices":
        return {n: Mask("rows", shape_of(m.weight), torch.arange(m.out_features)) for n, m in linears.items()}
    if scores is None:
        scores = score_model(config.score, base, linears, calibration, seed=config.seed, **config.options)
    check_choice("mnaft" if is_relevance(scores) else None, config.structure, config.choose)
    if config.choose in BY_MARK:
        owned = _taken(linears, config, reserved)
        return select_relevant(ScoresOf(linears, scores), config.choose == "random", config.seed, owned)
    return select_dormant(
        ScoresOf(linears, scores),
        config.structure,
        config.counted,
        config.density,
        highest=config.choose == "highest",
        taken=_taken(linears, config, reserved),
        owl_outlier=config.owl_outlier,
        owl_spread=config.owl_spread,
    )


def check_forms(linears: Mapping[str, nn.Linear], structure: str) -> None:
    """Raise `DormantError` for a structure whose values would need a dense weight beside a quantised one."""
    found = next(((n, form) for n, m in linears.items() if (form := form_of(m.weight)) is not None), None)
    if found is not None and structure not in BESIDE:
        raise DormantError(
            f"structure={structure!r}: {found[0]} is quantised ({found[1]}), and single entries or whole matrices "
            f"would take a dense weight in its place: give one of {', '.join(BESIDE)}, or load the base unquantised."
        )


def _taken(
    linears: Mapping[str, nn.Linear], config: DormantConfig, reserved: Reserved | None = None
) -> dict[str, Tensor]:
    """Entries that installed sensors own, and that one with these settings may not share, or that are reserved: bool
    (out, in) by module name."""
    found = {}
    for name, layer in linears.items():
        others = layer.replacements() if isinstance(layer, DormantLinear) else []
        owned = [update.bitmap() for update in others if config.acts != "sensor" or update.sensors is None]
        owned += [] if reserved is None else reserved.entries(name, layer.weight.device)
        if owned:
            found[name] = torch.stack(owned).any(0)
    return found


def _directions(
    base: nn.Module,
    linears: Mapping[str, nn.Linear],
    config: DormantConfig,
    calibration: Iterable[Batch] | None,
    reserved: Reserved | None,
) -> dict[str, Tensor]:
    """Bases (in, r) by module name, orthogonal to the directions that installed sensors own, and reserved ones."""
    ranks = {name: count_out(name, config.density, m.in_features, "input directions") for name, m in linears.items()}
    generator = torch.Generator().manual_seed(config.seed)
    use: Use = "random" if config.score == "random" else "least" if config.choose == "lowest" else "most"
    moments = None if use == "random" else input_moments(base, linears, calibration)
    found = {}
    for name, layer in linears.items():
        others = layer.updates.values() if isinstance(layer, DormantLinear) else []
        owned = [update.basis for update in others if isinstance(update, Direction)]
        owned += [] if reserved is None else reserved.bases(name, layer.weight.device)
        moment = torch.empty(layer.in_features, 0, device=layer.weight.device) if moments is None else moments[name]
        found[name] = choose_basis(moment, ranks[name], use, generator, torch.cat(owned, 1) if owned else None)
    return found
