"""A model with dormant updates: train it with anything, save the delta, merge it, or take it away to the bit.

    dormant = pa.DormantConfig(score="wanda", density=0.1, structure="rows")
    model = pa.get_dormant_model(model, dormant, calibration=batches)

The wrapper hands every call and attribute on to the model, which keeps its own modules, names and `generate`.

Note:
    Everything of the base stops requiring gradients; what else is to be trained (a bridge) is asked for after this.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pairalign.core.arguments import checked
from pairalign.core.bounds import Share
from pairalign.core.errors import DormantError
from pairalign.core.names import names_module
from pairalign.dormant.checkpoint import load_delta, save_delta
from pairalign.dormant.choose import choose_parts, make_update
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.directions import Direction
from pairalign.dormant.forward import BaseForward
from pairalign.dormant.frozen import keep_frozen_still
from pairalign.dormant.layer import (
    adapt,
    check_free,
    detach,
    dormant_linears,
    release,
    shared_weights,
    without_updates,
)
from pairalign.dormant.provenance import origin_of
from pairalign.dormant.pulled import pull_back, update_ends
from pairalign.dormant.quantised import count_of, dense, form_of
from pairalign.dormant.reach import check_causal, check_decoder
from pairalign.dormant.reserved import Reserved
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.significance import Batch
from pairalign.dormant.updates import Replacement


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

    forward = BaseForward()

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
            check_decoder(self.base_model, updates)
            check_causal(self.base_model)
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
        self._check_installed(sensor)
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
        self._check_installed(sensor)
        pull_back(update_ends(self.base_model, sensor), share)

    def _check_installed(self, sensor: str) -> None:
        if sensor not in self.dormant:
            raise DormantError(f"sensor {sensor!r} is not installed. Installed: {', '.join(self.dormant) or 'none'}.")

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
