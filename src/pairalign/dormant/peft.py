"""Dormant tuning inside PEFT: `get_peft_model`, `save_pretrained`, `from_pretrained`, `merge_and_unload`.

    model = peft.get_peft_model(llm, to_peft(pa.DormantConfig(score="splash"), calibration=batches))

Note:
    PEFT has no public way to register a method, so this leans on three of its mappings and on the hooks of `BaseTuner`,
    which the tests hold; importing this file registers the method. All adapters act at once, each on weights of its
    own; `set_adapter` chooses which of them trains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from pairalign.core.config import load_config, to_dict
from pairalign.dormant.checkpoint import delta_parts, delta_updates
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.layer import DormantLinear, dormant_class, dormant_linears
from pairalign.dormant.model import DormantModel, get_dormant_model
from pairalign.dormant.significance import Batch

TYPE, PREFIX, ROOT = "DORMANT", "dormant_", "base_model.model."


@dataclass
class DormantPeftConfig(PeftConfig):  # type: ignore[misc]
    """`DormantConfig`, field by field in `dormant`; `weights`: what a saved adapter changes, and of which base;
    `origin`: what it was chosen by."""

    dormant: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    target_modules: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = TYPE
        self.dormant = to_dict(load_config(DormantConfig, self.dormant))
        self.target_modules = self.dormant["target_modules"]
        self.calibration: Iterable[Batch] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Fields alone: calibration batches are not written."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


def to_peft(
    config: DormantConfig, calibration: Iterable[Batch] | None = None, task_type: str | None = None
) -> DormantPeftConfig:
    """A `DormantConfig` as PEFT wants it. calibration: for scores that look at data, and for directions."""
    made = DormantPeftConfig(dormant=to_dict(config), task_type=task_type)
    made.calibration = calibration
    return made


class PeftDormantLinear(DormantLinear):
    """A `DormantLinear` that answers what PEFT asks its layers."""

    adapter_layer_names = ("updates",)
    other_param_names = ()
    merged_adapters: tuple[str, ...] = ()

    @property
    def disable_adapters(self) -> bool:
        """Whether the layer is the base's now."""
        return not self.enabled

    @property
    def active_adapters(self) -> list[str]:
        """All of them."""
        return list(self.updates)

    def _get_available_adapters(self) -> set[str]:
        return set(self.updates)


BaseTunerLayer.register(PeftDormantLinear)  # its own base class would hide `weight`


class DormantTuner(BaseTuner):  # type: ignore[misc]
    """What PEFT calls `model.base_model`: a `DormantModel` under PEFT's names."""

    prefix = PREFIX
    tuner_layer_cls: Any = PeftDormantLinear
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012

    @property
    def tuned(self) -> DormantModel:
        """The `DormantModel` around the wrapped model, which stays the only owner of its modules."""
        held = self.__dict__.setdefault("_held", [])
        if not held:
            held.append(DormantModel(self.model))
        model: DormantModel = held[0]
        return model

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Choose and attach what trains; a saved adapter waits for its tensors."""
        config: Any = self.peft_config[adapter_name]
        model.requires_grad_(False)
        if not config.weights:
            settings = load_config(DormantConfig, config.dormant)
            get_dormant_model(self.tuned, settings, config.calibration, sensor=adapter_name)
            config.calibration = None
            show(model)
        self.targeted_module_names = [name for name, _ in dormant_linears(model)]

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config

    @staticmethod
    def _check_target_module_exists(peft_config: Any, key: str) -> bool:
        return True

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        """`inject_adapter` does it for all layers at once."""

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        self.set_requires_grad(self.active_adapters)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Values are float32 masters whatever the base is."""

    def set_requires_grad(self, adapter_names: str | Sequence[str], requires_grad: bool = True) -> None:
        """Whether the values of adapters train."""
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            for update in self.tuned.updates(name).values():
                update.values.requires_grad_(requires_grad)

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Choose which adapters train; all of them act."""
        self.active_adapter = adapter_name
        for name in self.tuned.dormant:
            self.set_requires_grad(name, name in self.active_adapters and not inference_mode)

    def enable_adapter_layers(self) -> None:
        """Let the adapters act."""
        for _, layer in dormant_linears(self.model):
            layer.enabled = True

    def disable_adapter_layers(self) -> None:
        """The base, bit for bit."""
        for _, layer in dormant_linears(self.model):
            layer.enabled = False

    def delete_adapter(self, adapter_name: str) -> None:
        """Take an adapter away; the base's weights are then what they were."""
        self.tuned.uninstall(adapter_name)
        del self.peft_config[adapter_name]

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        """The plain model with every adapter in its weights."""
        return self.tuned.merge_and_unload()

    def unload(self) -> nn.Module:
        """The plain model without any."""
        return self.tuned.unload()

    @classmethod
    def _get_adapter_state_dict(
        cls, model: Any, config: Any, adapter_name: str, state_dict: Any, unwanted_adapter_names: Any
    ) -> dict[str, Tensor]:
        """Values and places, as a delta holds them; what they belong to goes into the configuration."""
        config.weights, tensors = delta_parts(model.base_model.tuned, adapter_name)
        config.origin = model.base_model.tuned.origins[adapter_name]
        return {f"{ROOT}{name}": tensor for name, tensor in tensors.items()}

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: Any, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Attach a saved adapter; nothing is left for PEFT to load."""
        tuned, trainable = model.base_model.tuned, not config.inference_mode
        tensors = {key.removeprefix(ROOT): tensor for key, tensor in state_dict.items()}
        if adapter_name in tuned.dormant:  # weights for an adapter that is there
            tuned.uninstall(adapter_name)
        updates = delta_updates(tuned.base_model, config.weights, tensors, trainable)
        tuned.add(adapter_name, load_config(DormantConfig, config.dormant), updates, config.origin)
        show(tuned.base_model)
        return {}


def show(model: nn.Module) -> None:
    """Let PEFT see the adapted layers."""
    for _, layer in dormant_linears(model):
        layer.__class__ = dormant_class(PeftDormantLinear, layer.plain)


def register() -> None:
    """Tell PEFT of the method; done once, on import."""
    mappings: tuple[tuple[Any, Any], ...] = (
        (PEFT_TYPE_TO_CONFIG_MAPPING, DormantPeftConfig),
        (PEFT_TYPE_TO_TUNER_MAPPING, DormantTuner),
        (PEFT_TYPE_TO_PREFIX_MAPPING, PREFIX),
    )
    for mapping, value in mappings:
        mapping[TYPE] = value


register()
__all__ = ["DormantPeftConfig", "DormantTuner", "to_peft"]
