"""A base whose linear layers are quantised while it is loaded, for whoever has too little memory for its own numbers.

int8: torchao, one scale a row. nf4: bitsandbytes, 4 bits in blocks of 64, as QLoRA (arXiv:2305.14314) has them. Both
weigh weights alone: activations, embeddings, norms and the output head keep the base's dtype.

Note:
    Torchao's own int4 needs a GPU and a kernel package of its own, and is not offered. A base that is stored quantised
    is loaded as it is stored.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, cast

from torch import nn

from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.dormant.quantised import dtype_of, form_of, is_plain, settle

LoadIn = Literal["int8", "nf4"]
PACKAGES = {"int8": ("torchao",), "nf4": ("bitsandbytes", "accelerate")}


def check_load_in(load_in: str | None) -> None:
    """Raise `ConfigError` for a form that is not offered, or whose package is not installed."""
    if load_in is None:
        return
    if load_in not in PACKAGES:
        raise ConfigError(f"load_in={load_in!r}: give int8 or nf4.{did_you_mean(load_in, PACKAGES)}")
    missing = [package for package in PACKAGES[load_in] if find_spec(package) is None]
    if missing:
        raise ConfigError(f"load_in={load_in!r} needs {' and '.join(missing)}: pip install 'pairalign[quant]'.")


def loading_in(load_in: str | None) -> dict[str, Any]:
    """The argument of `from_pretrained` that quantises."""
    check_load_in(load_in)
    if load_in is None:
        return {}
    if load_in == "int8":
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        return {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig(version=2))}
    from transformers import BitsAndBytesConfig

    return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}


def settle_base(model: nn.Module, name: str, load_in: str | None) -> None:
    """Make the linear layers of a loaded base what can be trained beside; raise `ConfigError` for an unknown form."""
    for place, layer in model.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        if form_of(layer.weight) is None and not is_plain(layer.weight):
            raise ConfigError(
                f"base={name!r} is stored quantised in a form that is not known ({place} is a {type(layer).__name__} "
                f"with a {type(layer.weight).__name__} of {layer.weight.dtype}): give the unquantised base, with "
                "load_in int8 or nf4."
            )
        settle(layer)
        if load_in == "nf4" and form_of(layer.weight) is not None:
            computed, told = cast(Any, layer), cast(Any, model).config.quantization_config
            computed.compute_dtype, computed.compute_type_is_set = dtype_of(layer.weight), True
            told.bnb_4bit_compute_dtype = computed.compute_dtype  # which is what a saved model computes with
