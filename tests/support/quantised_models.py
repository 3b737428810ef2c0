"""Tiny models of real Hugging Face classes, quantised by the real packages while they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import tiny_llama
from torch import nn

from pairalign.dormant.quantised import dense, form_of
from pairalign.sensors.quantise import PACKAGES, loading_in, settle_base

FORMS = ("int8", "nf4")
SIZES = {"hidden_size": 64, "intermediate_size": 128}  # whole blocks of 64, which 4 bits on the CPU need


def needs(form: str) -> None:
    """Skip a test where the package of a form is not installed."""
    for package in PACKAGES[form]:
        pytest.importorskip(package)


def quantised_llama(folder: Path, form: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A Llama of 2 layers and 64 dimensions, evaluation mode."""
    from transformers import AutoModelForCausalLM

    place = folder / f"llama-{seed}"
    if not place.exists():
        tiny_llama(seed, **SIZES).save_pretrained(place)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **loading_in(form))
    settle_base(model, "llama", form)
    return model.eval()


def plain_llama(folder: Path, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """The same, not quantised."""
    from transformers import AutoModelForCausalLM

    place = folder / f"llama-{seed}"
    if not place.exists():
        tiny_llama(seed, **SIZES).save_pretrained(place)
    return AutoModelForCausalLM.from_pretrained(place, dtype=dtype).eval()


def dequantised(model: nn.Module) -> nn.Module:
    """The same model with the quantised layers' numbers in plain layers; the one that is given is used up."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and form_of(layer.weight) is not None:
            parent, _, last = name.rpartition(".")
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight = nn.Parameter(dense(layer.weight), requires_grad=False)
            if layer.bias is not None:
                plain.bias = layer.bias
            setattr(model.get_submodule(parent), last, plain)
    return model.eval()


def llava_folder(folder: Path) -> Path:
    """A tiny LLaVA and its processor on disk, of whole blocks."""
    from pairalign.demo.base import build_base, build_processor

    if not folder.exists():
        torch.manual_seed(0)
        build_base(width=64, layers=2, vision_layers=1).save_pretrained(folder)
        build_processor().save_pretrained(folder)
    return folder
