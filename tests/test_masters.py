"""What trains in bfloat16 goes where it goes in float32, and float32 is trained as it ever was."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from sensing import TOUCH, batch, gels, make_sensor
from stage_two import killed, short_run
from tiny_mllms import FAMILIES
from torch import Tensor, nn

import pairalign as pa
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.config import RecomposeConfig, TuneConfig
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.method import Setup
from pairalign.finetune.module import StageTwo
from pairalign.finetune.pull_back import PullBack
from pairalign.finetune.trained import put_back, trained
from pairalign.masters import MasterAdamW, build_adamw, drop_masters, entry_bytes, exact, precise, write
from pairalign.sensors.model import SensorModel

STEPS, ACCUMULATE, LR = 8, 2, 2e-5
ALL_OF = {
    "sa_proj": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "gate_up": ("gate_proj", "up_proj"),
}
ARMS = ["full", "lwf", "wise_ft", "ewc", "spider", "lora", "moe_lora", "bridge", *ALL_OF]


def taught(model: SensorModel) -> Batch:
    ids, mask = batch([[1, *[TOUCH] * 4, 5, 6, 7], [1, 8, *[TOUCH] * 4, 4, 9]], "left")
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < ids.shape[1] - 2, IGNORED)
    return Batch(
        {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(2)}}, labels, ("a", "b"), ("", "")
    )


def calibration() -> list[dict[str, Tensor]]:
    ids = torch.randint(3, 80, (4, 6), generator=torch.Generator().manual_seed(3))
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}]


def weights(model: SensorModel) -> dict[str, Tensor]:
    return {n: p.detach().float().clone() for n, p in model.named_parameters() if "encoder" not in n}


def change(arm: str, dtype: torch.dtype) -> tuple[float, float]:
    """How far an arm goes from a base that bfloat16 can hold, and the share of its weights that moved there."""
    base = FAMILIES["llava"].model().to(torch.bfloat16).to(dtype)
    model = SensorModel(base)
    model.add("touch", make_sensor(base), TOUCH)
    before, name = weights(model), "dormant" if arm in ALL_OF else arm
    torch.manual_seed(5)
    method = create_method(name, {"weight": 0.1} if name == "ewc" else {})
    dormant = pa.DormantConfig(structure="matrices", acts="always", target_modules=ALL_OF.get(arm))
    model.llm = method.prepare(model.llm, Setup(dormant, calibration()))
    train = TuneConfig(steps=STEPS, warmup=0, lr=LR * (50 if "lora" in arm else 1), accumulate=ACCUMULATE)
    task = StageTwo(model, method, RecomposeConfig("base", {}, {}, "out", method=name, train=train))
    made = task.configure_optimizers()
    optimizer, rates = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for _ in range(STEPS):
        for _ in range(ACCUMULATE):
            loss, penalty = task.losses(taught(model))
            ((loss if penalty is None else loss + penalty) / ACCUMULATE).backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        method.after_backward(model.llm)
        optimizer.step()
        optimizer.zero_grad()
        rates.step()
    model.llm = PullBack().finish(method, model.llm)
    if name in ("dormant", "moe_lora"):
        ends = [(now.detach(), start) for now, start in method.ends(model.llm)]
    else:
        after = weights(model)
        ends = [(after[n], start) for n, start in before.items() if n in after]
    moved = [(now.to(torch.bfloat16).float() - start.float()).flatten() for now, start in ends]
    told = torch.cat(moved)
    return float(told.norm()), float((told != 0).float().mean())


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_goes_as_far_from_a_base_in_bfloat16_as_from_the_same_in_float32(arm: str) -> None:
    (far, many), (whole, all_of) = change(arm, torch.bfloat16), change(arm, torch.float32)
    assert 0.95 < far / whole < 1.05
    assert 0.95 < many / all_of < 1.05


def rounded(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values).to(torch.bfloat16))


def test_float32_alone_is_torchs_own_optimizer() -> None:
    assert type(build_adamw([{"params": [nn.Parameter(torch.ones(2))], "lr": 1e-3}])) is torch.optim.AdamW


def test_a_weight_is_its_master_rounded_and_both_are_written_together() -> None:
    weight, other = rounded([1.0, -2.0]), nn.Parameter(torch.ones(2))
    optimizer = build_adamw([{"params": [weight], "lr": 1e-3, "weight_decay": 0.1}, {"params": [other], "lr": 0.5}])
    twin = nn.Parameter(torch.tensor([1.0, -2.0]))
    plain = torch.optim.AdamW([{"params": [twin], "lr": 1e-3, "weight_decay": 0.1}])
    for _ in range(3):
        (weight.float().square().sum() + other.sum()).backward()
        twin.grad = weight.grad.float()  # type: ignore[union-attr]
        optimizer.step()
        plain.step()
        optimizer.zero_grad()
        assert exact(weight).equal(twin.detach())
        assert weight.equal(twin.detach().to(torch.bfloat16))
    assert float(other.detach()[0]) < 0  # the groups keep their rates
    write(weight, torch.tensor([1.001, 3.0]))
    assert exact(weight).tolist() == pytest.approx([1.001, 3.0])
    assert weight.equal(torch.tensor([1.001, 3.0]).to(torch.bfloat16))
    (3 * precise(weight)).sum().backward()
    assert precise(weight).equal(exact(weight))
    assert weight.grad.tolist() == [3.0, 3.0]  # type: ignore[union-attr]
    drop_masters([weight])
    assert exact(weight).dtype == torch.bfloat16


def test_its_state_goes_through_a_checkpoint_unrounded_and_an_old_one_has_none() -> None:
    def step(weight: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        weight.grad = torch.full_like(weight, 0.3)
        optimizer.step()

    one, two, old = (rounded([1.0]) for _ in range(3))
    first, second, third = (build_adamw([{"params": [w], "lr": 1e-3}]) for w in (one, two, old))
    step(one, first)
    state = copy.deepcopy(first.state_dict())
    assert {v.dtype for v in state["state"][0].values()} == {torch.float32}
    second.load_state_dict(state)
    assert exact(two).equal(exact(one))
    step(one, first)
    step(two, second)
    assert exact(two).equal(exact(one))
    write(old, torch.tensor([0.5]))
    rest = {n: {k: v for k, v in held.items() if k != "master"} for n, held in state["state"].items()}
    third.load_state_dict({**state, "state": rest})
    assert exact(old).equal(torch.tensor([0.5]))


def test_weights_that_come_back_bring_their_masters() -> None:
    module = nn.Linear(2, 2, bias=False).to(torch.bfloat16)
    MasterAdamW([{"params": [module.weight], "lr": 1e-3}])
    write(module.weight, torch.full((2, 2), 0.1001))
    kept = trained(module)
    write(module.weight, torch.zeros(2, 2))
    put_back(module, kept)
    assert exact(module.weight).equal(torch.full((2, 2), 0.1001))


def test_memory_of_an_entry_counts_its_master() -> None:
    assert [entry_bytes(d) for d in (torch.float32, torch.bfloat16, torch.float16)] == [12, 14, 14]


def test_a_killed_run_in_bfloat16_goes_on_to_the_bit(setup: Path, tmp_path: Path) -> None:
    train: dict[str, Any] = {"steps": 4, "batch_size": 4, "accumulate": 2, "warmup": 0, "lr": 1e-5, "measure_tokens": 0}
    train |= {"accelerator": "cpu", "checkpoint_every": 2, "clip": 0.5}
    how: dict[str, Any] = {"method": "spider", "dtype": "bfloat16", "train": train, "validation": {}, "held_out": {}}
    whole = short_run(setup, tmp_path / "whole", **how)
    with killed(at=3):
        short_run(setup, tmp_path / "cut", **how)
    gone = short_run(setup, tmp_path / "cut", **how)
    assert not any(hasattr(p, "_master") for p in gone.model.parameters())
    theirs = dict(whole.model.named_parameters())
    assert all(p.equal(theirs[n]) for n, p in gone.model.named_parameters())
