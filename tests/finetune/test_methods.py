"""Each baseline against what its formula says, on a tiny multimodal model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sensing import TOUCH, batch, gels, make_sensor
from tiny_mllms import FAMILIES
from torch import Tensor, nn

import pairalign as pa
from pairalign.core.errors import ConfigError
from pairalign.dormant.linears import find_linears
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.methods import create_method, method_names
from pairalign.finetune.methods.experts import LoraExperts
from pairalign.finetune.methods.method import Setup, decoder_parameters
from pairalign.sensors.model import SensorModel


def model() -> SensorModel:
    base = FAMILIES["llava"].model()
    made = SensorModel(base)
    made.add("touch", make_sensor(base), TOUCH)
    return made.eval()


def inputs() -> dict[str, Any]:
    ids, mask = batch([[1, *[TOUCH] * 4, 5, 6, 7], [1, 8, *[TOUCH] * 4, 4]], "left")
    return {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(2)}}


def calibration() -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 80, (4, 6), generator=draw)
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}]


SETUP = Setup(pa.DormantConfig(), calibration())


def shift(llm: nn.Module, by: float = 0.1) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in decoder_parameters(llm).values():
            p.add_(by * torch.randn(p.shape, generator=draw))


@pytest.mark.parametrize("name", ["full", "lwf", "ewc", "wise_ft", "spider"])
def test_full_tuning_trains_the_decoder_and_nothing_else(name: str) -> None:
    llm = create_method(name, {}).prepare(FAMILIES["llava"].model(), SETUP)
    trained = {n for n, p in llm.named_parameters() if p.requires_grad}
    assert trained == set(decoder_parameters(llm))
    assert all("language_model" in n for n in trained)
    assert any("embed_tokens" in n for n in trained)


def test_lwf_is_the_kl_to_the_base_at_a_temperature_over_answer_tokens() -> None:
    made, method = model(), create_method("lwf", {"weight": 0.5, "temperature": 3.0})
    base = model()
    made.llm = method.prepare(made.llm, SETUP)
    given = inputs()
    taught = torch.tensor([[*[IGNORED] * 7, 7], [*[IGNORED] * 5, 6, 5, 4]])
    batch = Batch(given, taught, ("a", "b"), ("it", "it"))
    logits, labels = answer_logits(made, batch)
    assert float(method.penalty(made, batch, logits, labels).detach()) == pytest.approx(0, abs=1e-5)
    shift(made.llm)
    logits, labels = answer_logits(made, batch)
    found = method.penalty(made, batch, logits, labels)
    old, new = base(**given).logits, made(**given).logits
    total = 0.0
    for row, place in ((0, 6), (1, 4), (1, 5), (1, 6)):  # each predicts the next
        p, q = (F.softmax(x[row, place] / 3, -1) for x in (old, new))
        total += float((p * (p / q).log()).sum())
    assert float(found) == pytest.approx(0.5 * 9 * total / 4, rel=1e-4)


def test_ewc_is_a_spring_by_fisher_information() -> None:
    made, method = model(), create_method("ewc", {"weight": 4.0})
    base = {n: p.detach().clone() for n, p in made.llm.named_parameters()}
    fisher: dict[str, Tensor] = {n: torch.zeros_like(m.weight) for n, m in find_linears(made.llm).items()}
    for row in calibration()[0]["input_ids"]:
        made.llm.zero_grad()
        made.llm(input_ids=row[None], labels=row[None]).loss.backward()
        for n in fisher:
            fisher[n] += made.llm.get_submodule(n).weight.grad.square() / 4
    made.llm = method.prepare(made.llm, SETUP)
    shift(made.llm)
    mean = torch.stack([f.mean() for f in fisher.values()]).mean()
    expected = sum(
        (f / mean * (made.llm.get_submodule(n).weight - base[f"{n}.weight"]).square()).sum() for n, f in fisher.items()
    )
    none = torch.zeros(1)
    found = method.penalty(made, Batch(inputs(), none, (), ()), none, none)
    torch.testing.assert_close(found, 0.5 * 4.0 * expected, rtol=1e-3, atol=1e-6)


def test_wise_ft_goes_part_of_the_way() -> None:
    llm, method = FAMILIES["llava"].model(), create_method("wise_ft", {"alpha": 0.25})
    base = {n: p.detach().clone() for n, p in decoder_parameters(llm).items()}
    llm = method.prepare(llm, SETUP)
    shift(llm)
    tuned = {n: p.detach().clone() for n, p in decoder_parameters(llm).items()}
    method.finish(llm)
    for n, p in decoder_parameters(llm).items():
        torch.testing.assert_close(p.detach(), 0.75 * base[n] + 0.25 * tuned[n])
    with pytest.raises(ConfigError, match=r"alpha=1.5 of method 'wise_ft': give a number from 0 to 1"):
        create_method("wise_ft", {"alpha": 1.5})


def test_spider_moves_a_weight_as_far_as_training_needed_it_more_than_the_base() -> None:
    llm, method = FAMILIES["llava"].model(), create_method("spider", {})
    base = {n: p.detach().clone() for n, p in decoder_parameters(llm).items()}
    llm = method.prepare(llm, SETUP)
    sums = {n: torch.zeros_like(p) for n, p in base.items()}
    for scale in (1.0, 2.0):
        llm.zero_grad()
        (scale * llm(**calibration()[0]).loss).backward()
        method.after_backward(llm)
        for n, p in decoder_parameters(llm).items():
            sums[n] += p.grad.abs()
    shift(llm)
    tuned = {n: p.detach().clone() for n, p in decoder_parameters(llm).items()}
    method.finish(llm)
    name = next(n for n in base if n.endswith("up_proj.weight"))
    s, g = sums[name] / sums[name].mean(), base[name].abs() / base[name].abs().mean()
    expected = base[name] + s / (s + g) * (tuned[name] - base[name])
    torch.testing.assert_close(decoder_parameters(llm)[name].detach(), expected)


def test_experts_are_mixed_by_their_router() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    made = LoraExperts(base, experts=3, rank=2)
    x = torch.randn(4, 6)
    assert torch.equal(made(x), base(x))
    nn.init.normal_(made.up.weight)
    weights = made.router(x).softmax(-1)
    expected = base(x)
    for e in range(3):
        part = slice(2 * e, 2 * e + 2)
        expected = expected + 2 * weights[:, e : e + 1] * (x @ made.down.weight[part].T @ made.up.weight[:, part].T)
    torch.testing.assert_close(made(x), expected)


def test_lora_trains_what_peft_says_and_merges() -> None:
    made, method = model(), create_method("lora", {"rank": 3})
    made.llm = method.prepare(made.llm, SETUP)
    shapes = [m.weight.shape for m in find_linears(FAMILIES["llava"].model()).values()]
    assert sum(p.numel() for p in made.llm.parameters() if p.requires_grad) == sum(3 * (o + i) for o, i in shapes)
    for n, p in made.llm.named_parameters():
        if "lora_B" in n:
            nn.init.normal_(p, std=0.1)
    before = made(**inputs()).logits
    made.llm = method.finish(made.llm)
    torch.testing.assert_close(made(**inputs()).logits, before, atol=1e-5, rtol=1e-4)


def test_the_methods_are_these() -> None:
    wanted = {"dormant", "bridge", "full", "lora", "lwf", "wise_ft", "ewc", "spider", "moe_lora"}
    assert wanted <= set(method_names())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["full", "lora", "wise_ft", "spider", "moe_lora", "dormant"])
def test_what_is_measured_is_what_is_left(name: str, dtype: torch.dtype) -> None:
    """`settled` is `finish` to the bit, and leaves no trace."""
    method = create_method(name, {})
    llm = method.prepare(FAMILIES["llava"].model().to(dtype), SETUP)
    draw = torch.Generator().manual_seed(1)
    loss = llm(**calibration()[0]).loss
    loss.backward()
    method.after_backward(llm)
    with torch.no_grad():
        for p in llm.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=draw).to(p))
    ids = calibration()[0]["input_ids"]
    llm(input_ids=ids)  # dormant values are written into the weights now
    before = {n: p.detach().clone() for n, p in llm.named_parameters()}
    with torch.no_grad(), method.settled(llm):
        settled = llm(input_ids=ids).logits
    assert all(torch.equal(p, before[n]) for n, p in llm.named_parameters())
    with torch.no_grad(), method.settled(llm):
        assert torch.equal(llm(input_ids=ids).logits, settled)
    with torch.no_grad():
        assert torch.equal(method.finish(llm)(input_ids=ids).logits, settled)


@pytest.mark.parametrize("name", method_names())
def test_before_the_first_step_every_method_can_be_the_base_to_the_bit(name: str) -> None:
    base, made = model(), model()
    base.load_state_dict(made.state_dict())
    with torch.no_grad():
        expected = base(**inputs()).logits
        method = create_method(name, {})
        made.llm = method.prepare(made.llm, SETUP)
        trains = {n for n, p in made.llm.named_parameters() if p.requires_grad}
        with method.as_base(made.llm) as exact:
            found = made.eval()(**inputs()).logits
    assert exact
    assert found.equal(expected)
    assert {n for n, p in made.llm.named_parameters() if p.requires_grad} == trains


@pytest.mark.parametrize(("start", "apart"), [(False, True), ("gaussian", True), ("pissa", False)])
def test_lora_is_the_base_without_its_updates_unless_it_took_them_from_the_base(start: Any, apart: bool) -> None:
    base, made = model(), model()
    base.load_state_dict(made.state_dict())
    method = create_method("lora", {"rank": 2, "init_lora_weights": start})
    with torch.no_grad():
        expected = base(**inputs()).logits
        made.llm = method.prepare(made.llm, SETUP)
        with method.as_base(made.llm) as exact:
            found = made.eval()(**inputs()).logits
    assert exact == apart
    torch.testing.assert_close(found, expected, atol=0 if apart else 1e-4, rtol=0)
