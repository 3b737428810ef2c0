"""A plan says what training then takes, to the byte, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import ALL, dormant, loss, tiny_llama, token_batches
from torch import Tensor, nn

import pairalign as pa
from pairalign.dormant.checkpoint import WEIGHTS
from pairalign.dormant.plan import plan_dormant

WIDE = {"hidden_size": 128, "intermediate_size": 256, "layers": 1}


def held_bytes(model: nn.Module) -> int:
    """What training with Adam holds beside the base: values, gradients, moments, places."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    loss(model).backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor) and t.ndim]
    kept = [buffer for update in model.updates("touch").values() for buffer in update.buffers()]
    return sum(t.numel() * t.element_size() for t in [*trained, *(p.grad for p in trained), *moments, *kept])


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_it_is_what_training_takes(options: dict[str, Any], tmp_path: Path) -> None:
    config = pa.DormantConfig(**{"density": 0.25, **options})
    base = tiny_llama()
    plan = plan_dormant(base, config, token_batches())
    assert all(type(m) is not pa.DormantModel and type(m).__name__ != "DormantLinear" for m in base.modules())
    assert all(p.equal(q) for p, q in zip(base.parameters(), tiny_llama().parameters(), strict=True))
    model = dormant(base, **options)
    assert sum(layer.trained for layer in plan.layers) == model.trainable()[0]
    assert sum(layer.memory for layer in plan.layers) == held_bytes(model)
    model.save_pretrained(tmp_path)
    header = int.from_bytes((tmp_path / WEIGHTS).read_bytes()[:8], "little") + 8
    assert sum(layer.delta for layer in plan.layers) == (tmp_path / WEIGHTS).stat().st_size - header


@pytest.mark.parametrize("density", [0.02, 0.1, 0.25, 0.6])
@pytest.mark.parametrize("structure", ["rows", "columns", "weights"])
def test_optimizer_gradient_and_places_stay_below_16_d_and_a_fifth(structure: str, density: float) -> None:
    plan = plan_dormant(tiny_llama(**WIDE), pa.DormantConfig(structure=structure, density=density))
    for layer in plan.layers:
        assert 16 * layer.trained + layer.places <= (16 * layer.trained / layer.entries + 0.2) * layer.entries


def test_it_reads_like_a_table() -> None:
    lines = str(plan_dormant(tiny_llama(layers=1), pa.DormantConfig(structure="rows", density=0.25))).splitlines()
    assert lines[0].split() == ["layer", "entries", "trained", "share", "memory", "delta"]
    assert lines[1].split() == ["model.layers.0.self_attn.q_proj", "1,024", "256", "0.2500", "4.1", "KiB", "1.5", "KiB"]
    assert lines[-1].split()[:4] == ["all", "7,680", "1,920", "0.2500"]
