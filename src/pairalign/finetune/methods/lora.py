"""LoRA through PEFT: `W x + (α / r) B A x` on the decoder's projections. Source: arXiv:2106.09685.

Note:
    Needs the extra `peft`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pairalign.core.bounds import Count, Positive
from pairalign.core.errors import CheckpointError, ConfigError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.pulled import End
from pairalign.finetune.methods.method import Left, Method, Setup, register_method, remembered
from pairalign.sharding import as_it_is, whole

APART = (True, False, "gaussian")  # starts that leave the base's weights as they are


@register_method("lora")
class LoRA(Method):
    """rank: r. alpha: α; twice the rank if null. options: of `peft.LoraConfig`."""

    leaves = "weights"

    def __init__(self, rank: Count = 16, alpha: Positive | None = None, **options: Any) -> None:
        self.start: dict[str, Tensor] = {}
        self.adapter: dict[str, Tensor] = {}
        self.names: tuple[str, ...] = ()
        self.options = {"r": rank, "lora_alpha": 2 * rank if alpha is None else alpha, **options}

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """A `PeftModel`, in the layers that `DormantConfig` would name."""
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise ConfigError("method 'lora' needs PEFT: pip install 'pairalign[peft]'.") from error
        which = setup.dormant
        names = find_linears(llm, which.target_modules, which.exclude_modules, which.layers_to_transform)
        self.names = tuple(names)
        if setup.remember:
            self.remember(llm)  # before some starts are taken out of it
        try:
            config = LoraConfig(target_modules=list(names), **self.options)
            model: nn.Module = get_peft_model(llm, config)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:  # an option of another name or value
            raise ConfigError(f"method 'lora': options={self.options}: {str(error).splitlines()[0]}") from error
        return model

    def remember(self, llm: nn.Module) -> None:
        """A copy of the projections beside its adapters."""
        self.start = {name: as_it_is(weight) for name, weight in self._projections(llm)}

    def _projections(self, llm: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Their weights, with adapters beside them or after they were merged."""
        plain: nn.Module = llm.get_base_model() if hasattr(llm, "get_base_model") else llm  # type: ignore[operator]
        for name in self.names:
            module: Any = plain.get_submodule(name)
            yield name, getattr(module, "base_layer", module).weight

    def proceed(self, llm: nn.Module, setup: Setup, left: Left) -> nn.Module:
        """The adapter as it was left, on the base; or another one, on what the run before merged into it."""
        if left.updates == "new":
            return super().proceed(llm, setup, left)
        if not self._begins_apart or not left.carried:
            raise ConfigError(
                "start.updates='same': an adapter that was taken out of the base's weights, or that the run before did "
                "not keep, cannot go on: give 'new', which merges it first."
            )
        from peft import set_peft_model_state_dict

        model = self.prepare(llm, setup)
        found: Any = set_peft_model_state_dict(model, dict(left.carried))
        if found.unexpected_keys:
            raise CheckpointError(
                f"the adapter in {str(left.folder)!r} is of other layers: {found.unexpected_keys[0]}."
            )
        return model

    def carried(self) -> dict[str, Tensor]:
        """The adapter."""
        return self.adapter

    @contextmanager
    def settled(self, llm: nn.Module) -> Iterator[None]:
        """With the updates in the weights, rounded to their dtype, for as long as it lasts."""
        with remembered({n: p for n, p in llm.named_parameters() if ".base_layer." in n}):
            llm.merge_adapter()  # type: ignore[operator]
            yield
            llm.unmerge_adapter()  # type: ignore[operator]

    @contextmanager
    def as_base(self, llm: nn.Module) -> Iterator[bool]:
        """Without its updates; where these were taken out of the base's weights, with them, which is near."""
        begins = self._begins_apart
        with llm.disable_adapter() if begins else self.settled(llm):  # type: ignore[operator]
            yield begins

    @property
    def _begins_apart(self) -> bool:
        return self.options.get("init_lora_weights", True) in APART and not self.options.get("layer_replication")

    @property
    def can_pull_back(self) -> bool:
        """The projections, of which a copy is kept."""
        return True

    def ends(self, llm: nn.Module) -> Iterator[End]:
        """The merged projections."""
        return ((weight, self.start[name]) for name, weight in self._projections(llm) if name in self.start)

    @property
    def keeps_base(self) -> bool:
        """Where the updates were not taken out of the base's weights, and none of its own biases train."""
        return self._begins_apart and self.options.get("bias", "none") == "none"

    @contextmanager
    def base_beside(self, llm: nn.Module) -> Iterator[nn.Module]:
        """Without its updates."""
        with llm.disable_adapter():  # type: ignore[operator]
            yield llm

    def finish(self, llm: nn.Module) -> nn.Module:
        """The plain model with the updates in its weights."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(llm)  # type: ignore[arg-type]
        self.adapter = {name: whole(t.detach()).cpu().clone().contiguous() for name, t in found.items()}
        merged: nn.Module = llm.merge_and_unload()  # type: ignore[operator]
        return merged

    def changed(self, llm: nn.Module) -> dict[str, Tensor]:
        """The merged projections."""
        return {f"{name}.weight": whole(m.weight.detach()).cpu().contiguous() for name, m in find_linears(llm).items()}
