"""A model with dormant updates: train it with anything, save the delta, merge it, or take it away to the bit.

    dormant = pa.DormantConfig(score="wanda", density=0.1, structure="rows")
    model = pa.get_dormant_model(model, dormant, calibration=batches)

The wrapper hands every call and attribute on to the model, which keeps its own modules, names and `generate`.

Note:
    Everything of the base stops requiring gradients; what else is to be trained (a bridge) is asked for after this.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.arguments import checked
from pairalign.core.bounds import Share
from pairalign.core.errors import DormantError
from pairalign.core.names import names_module
from pairalign.dormant.checkpoint import load_delta, save_delta
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.directions import Direction, Use, choose_basis
from pairalign.dormant.following import carry_context
from pairalign.dormant.frozen import keep_frozen_still
from pairalign.dormant.layer import (
    DormantLinear,
    adapt,
    check_free,
    detach,
    dormant_linears,
    release,
    shared_weights,
    without_updates,
)
from pairalign.dormant.linears import decoder_prefix, find_linears
from pairalign.dormant.provenance import Seen, origin_of
from pairalign.dormant.pulled import pull_back, update_ends
from pairalign.dormant.quantised import count_of, dense, form_of, shape_of
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
LIKE = 3  # a token id that every vocabulary has
BESIDE = ("rows", "columns", "neurons", "directions")
"""Structures whose difference is added beside the base's own output, whatever that is stored as."""


def _call_base(model: DormantModel, *args: Any, **kwargs: Any) -> Any:
    if model.training and torch.is_grad_enabled():
        carry_context(model.base_model)
    return model.base_model(*args, **kwargs)


class _BaseForward:
    """`forward` that calls the base and has its signature, which Hugging Face's Trainer reads to choose columns."""

    def __get__(self, model: DormantModel | None, owner: type | None = None) -> Callable[..., Any]:
        if model is None:
            return _call_base
        return functools.wraps(model.base_model.forward)(functools.partial(_call_base, model))


class DormantModel(nn.Module):
    """A model whose linear layers carry updates by sensor name.

    `dormant` has the configuration of each, `origins` what its weights were chosen by, as `origin_of` tells it, as far
    as that is known.

    Args:
        base_model: whose weights are never written and never train.
    """

    def __init__(self, base_model: nn.Module) -> None:
        super().__init__()
        self.base_model = base_model
        self.dormant: dict[str, DormantConfig] = {}
        self.origins: dict[str, dict[str, Any]] = {}

    forward = _BaseForward()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model"), name)

    def train(self, mode: bool = True) -> DormantModel:
        """Only what trains is in training mode: the base's batch norms keep their statistics.

        Args:
            mode: whether that is.
        """
        super().train(mode)
        if mode:
            keep_frozen_still(self.base_model)
        return self

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own.

        Args:
            *args: as the model takes them.
            **kwargs: likewise.
        """
        return self.base_model.generate(*args, **kwargs)  # type: ignore[operator]

    def add(
        self,
        sensor: str,
        config: DormantConfig,
        updates: Mapping[str, Replacement | Direction],
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        """Attach updates by module name under a sensor's name.

        Args:
            sensor: its name.
            config: what the updates were chosen by.
            updates: by module name.
            origin: what their scores were made of, if known.

        Raises:
            DormantError: with the model as it was, if one does not fit.
        """
        if sensor in self.dormant:
            raise DormantError(f"sensor {sensor!r} is there already: uninstall it first.")
        if not names_module(sensor):
            raise DormantError(f"sensor={sensor!r}: give a plain name, such as 'touch'.")
        origin, modules = dict(origin or {}), dict(self.base_model.named_modules())
        for update in updates.values():
            update.sensors = config.sensors_of(sensor)
        if config.acts == "sensor":
            _check_decoder(self.base_model, updates)
            _check_causal(self.base_model)
        for name, update in updates.items():
            check_free(modules[name], sensor, update)
        for name, update in updates.items():
            adapt(modules[name]).updates[sensor] = update  # type: ignore[arg-type]  # checked above, all before one
        self.dormant[sensor] = config
        self.origins[sensor] = origin

    def install(self, folder: str | Path) -> None:
        """Install the delta that a folder holds, such as a sensor pack.

        Args:
            folder: of the delta.

        Raises:
            DeltaError: if it does not fit.
        """
        load_delta(self, Path(folder))

    def uninstall(self, sensor: str) -> None:
        """Take a sensor away; the base's weights are then what they were, bit for bit.

        Args:
            sensor: its name.
        """
        if sensor not in self.dormant:
            raise DormantError(f"sensor {sensor!r} is not installed. Installed: {', '.join(self.dormant) or 'none'}.")
        for _, layer in list(dormant_linears(self.base_model)):
            if sensor in layer.updates:
                detach(layer, sensor)
        self._release_unused()
        del self.dormant[sensor], self.origins[sensor]

    @checked(DormantError)
    def pull_back(self, sensor: str, share: Share) -> None:
        """Take a sensor's values back to a share of the way from the base, in place.

        Args:
            sensor: its name.
            share: at 1 they stay as they are, at 0 they are the base's, bit for bit.
        """
        if sensor not in self.dormant:
            raise DormantError(f"sensor {sensor!r} is not installed. Installed: {', '.join(self.dormant) or 'none'}.")
        pull_back(update_ends(self.base_model, sensor), share)

    def _release_unused(self) -> None:
        for _, layer in list(dormant_linears(self.base_model)):
            if not layer.updates:
                release(layer, merge=False)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within it the model is the base, bit for bit, for the calls of this thread or task; blocks may nest."""
        with without_updates([layer for _, layer in dormant_linears(self.base_model)]):
            yield

    def merge_and_unload(self) -> nn.Module:
        """The plain model with every update in its weights: the base's modules, names and shapes, and its cost."""
        return self._release(merge=True)

    def unload(self) -> nn.Module:
        """The plain model without any update, bit for bit the base."""
        return self._release(merge=False)

    def _release(self, merge: bool) -> nn.Module:
        if merge:
            self.check_mergeable()
            self.check_disjoint()
        for _, layer in list(dormant_linears(self.base_model)):
            release(layer, merge)
        self.dormant.clear()
        self.origins.clear()
        return self.base_model

    def check_mergeable(self) -> None:
        """Raise `DormantError` for a quantised weight: what is merged would have to be quantised anew."""
        for name, layer in dormant_linears(self.base_model):
            if (form := form_of(layer.weight)) is not None:
                raise DormantError(
                    f"{name} is quantised ({form}), and nothing is merged into it: load the base unquantised, install "
                    "the delta there, and merge."
                )

    def check_disjoint(self) -> None:
        """Raise `DormantError` where sensors have values for one weight, of which a plain model has one."""
        for name, layer in dormant_linears(self.base_model):
            for one, other in itertools.combinations(layer.updates, 2):
                if shared := shared_weights(layer.updates[one], layer.updates[other]):
                    raise DormantError(
                        f"{one!r} and {other!r} share {shared} weights of {name}, each behind its own sensor; a merged "
                        "model has one weight: uninstall one of them first, or train the second with the first as one "
                        "of its `installed` packs."
                    )

    def updates(self, sensor: str) -> dict[str, Replacement | Direction]:
        """The updates of a sensor by module name.

        Args:
            sensor: its name.
        """
        found = {
            name: layer.updates[sensor] for name, layer in dormant_linears(self.base_model) if sensor in layer.updates
        }
        return found  # type: ignore[return-value]

    def masks(self, sensor: str) -> dict[str, Mask]:
        """The dormant parts that a sensor owns, by module name; directions own none.

        Args:
            sensor: its name.
        """
        return {n: u.mask() for n, u in self.updates(sensor).items() if isinstance(u, Replacement)}

    def trainable(self) -> tuple[int, int]:
        """Parameters that train, and all of the base."""
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        values = {id(u.values) for sensor in self.dormant for u in self.updates(sensor).values()}
        own = sum(p.numel() for p in self.base_model.parameters() if id(p) in values)
        return trained, count_of(self.base_model) - own

    def save_pretrained(self, folder: str | Path, sensor: str | None = None) -> None:
        """Write the delta of one sensor: `dormant_config.json` and `dormant_model.safetensors`.

        Args:
            folder: to write into.
            sensor: which; may be left out where there is one.
        """
        save_delta(self, self._one(sensor), Path(folder))

    @classmethod
    def from_pretrained(cls, base: nn.Module, folder: str | Path, trainable: bool = False) -> DormantModel:
        """A base (or a model that has sensors already) with the delta of a folder installed.

        Args:
            base: the model that the delta was made for.
            folder: of the delta.
            trainable: whether its values train on.
        """
        model = base if isinstance(base, cls) else cls(base)
        load_delta(model, Path(folder), trainable)
        return model

    def _one(self, sensor: str | None) -> str:
        if sensor is None and len(self.dormant) == 1:
            return next(iter(self.dormant))
        if sensor not in self.dormant:
            raise DormantError(f"sensor={sensor!r}: give one of {', '.join(self.dormant) or 'none'}.")
        return sensor


def get_dormant_model(
    model: nn.Module,
    config: DormantConfig,
    calibration: Iterable[Batch] | None = None,
    *,
    sensor: str = "sensor",
    scores: Mapping[str, Tensor] | None = None,
    masks: Mapping[str, Mask] | None = None,
    reserved: Reserved | None = None,
) -> DormantModel:
    """Give a model trainable dormant weights under a sensor's name; nothing else of it trains afterwards.

    A model that has sensors already keeps them, frozen.

    Args:
        model: any torch model with linear layers.
        config: what of which layers may learn.
        calibration: batches of the model's keyword arguments that show what the base does, for scores that look at data
            and for directions.
        sensor: name of what is learned.
        scores: by module name, such as `load_scores` gives, instead of `config.score`.
        masks: dormant parts by module name, instead of choosing them.
        reserved: what packs own that are not installed here, see `read_reserved`; nothing of it is chosen.

    Returns:
        The model, to be trained by any loop.

    Raises:
        DormantError: before anything is changed, if the configuration cannot be met.

    Example:
        >>> import torch, pairalign as pa
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = torch.nn.Linear(8, 10)
        ...     def forward(self, x):
        ...         return self.fc(x)
        >>> config = pa.DormantConfig(score="magnitude", structure="rows", density=0.2, target_modules="fc")
        >>> model = pa.get_dormant_model(Net(), config)
        >>> model.trainable()
        (16, 90)
        >>> plain = model.merge_and_unload()
    """
    whole = model if isinstance(model, DormantModel) else DormantModel(model)
    chosen = choose_parts(whole.base_model, config, calibration, scores, masks, reserved)
    modules: dict[str, Any] = dict(whole.base_model.named_modules())
    updates = {name: make_update(dense(modules[name].weight), part) for name, part in chosen.parts.items()}
    whole.add(sensor, config, updates, origin_of(updates, chosen.scores, chosen.seen, chosen.beside))
    whole.requires_grad_(False)
    for update in updates.values():
        update.values.requires_grad_(True)
    return whole


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


@torch.no_grad()
def _check_causal(base: nn.Module) -> None:
    """Raise `DormantError` for a language model whose tokens depend on what stands behind them: asked on four tokens,
    of which the last is another one."""
    embedding = getattr(base, "get_input_embeddings", lambda: None)()
    if embedding is None or embedding.weight.is_meta or embedding.weight.shape[0] < LIKE + 2:
        return
    modes = [(module, module.training) for module in base.modules()]
    ids = torch.tensor([[LIKE] * 4, [LIKE] * 3 + [LIKE + 1]], device=embedding.weight.device)
    try:
        one, other = base.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0].float()
    finally:
        for module, training in modes:
            module.training = training
    if float((one - other).abs().max()) > 1e-3 * float(one.abs().max()):
        raise DormantError(
            f"acts='sensor': {type(base).__name__} reads a prompt in both directions, so that what stands before a "
            "sensor depends on it and would not stay the base's: set acts='always', or take a causal model."
        )


def _check_decoder(base: nn.Module, updates: Iterable[str]) -> None:
    """Raise `DormantError` for a module that reads other things than a prompt's tokens in their order."""
    prefix = decoder_prefix(base)
    for name in updates:
        if prefix and not name.startswith(prefix + "."):
            raise DormantError(
                f"acts='sensor': {name} is outside of the text decoder, and has no tokens behind a sensor: leave it "
                "out with exclude_modules, or set acts='always'."
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
