"""Significance scores against slow oracles; padding is left out where it must be."""

from __future__ import annotations

import pytest
import torch
from recompose_models import tiny_llama, token_batches
from torch import Tensor, nn

from pairalign.errors import DormantError
from pairalign.recompose.linears import find_linears
from pairalign.recompose.significance import input_moments, score_model
from pairalign.recompose.significance.dowser import written_prompts
from pairalign.recompose.significance.mnaft import measure_importance, neuron_scores


def seen_inputs(model: nn.Module, padded: bool) -> dict[str, Tensor]:
    """Every input of every layer, one token at a time, in float64."""
    found: dict[str, list[Tensor]] = {}
    mask: Tensor | None = None
    hooks = []
    for name, module in find_linears(model).items():

        def see(_: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            for row, real in zip(args[0], mask, strict=True):
                found.setdefault(name, []).extend(t for t, r in zip(row, real, strict=True) if r or padded)

        hooks.append(module.register_forward_pre_hook(see))
    with torch.no_grad():
        for batch in token_batches():
            mask = batch["attention_mask"]
            model(**batch)
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(tokens).double() for name, tokens in found.items()}


def test_wanda_is_weight_times_root_mean_square_without_padding() -> None:
    model = tiny_llama()
    linears = find_linears(model)
    scores = score_model("wanda", model, linears, token_batches())
    for name, tokens in seen_inputs(model, padded=False).items():
        wanted = linears[name].weight.abs().double() * tokens.square().mean(0).sqrt()
        torch.testing.assert_close(scores[name].double(), wanted, rtol=1e-5, atol=1e-8)


def test_splash_is_as_its_code_does_it() -> None:
    model = tiny_llama()
    linears = find_linears(model)
    scores = score_model("splash", model, linears, token_batches())
    for name, tokens in seen_inputs(model, padded=True).items():
        wanted = linears[name].weight.abs().double() * (tokens.square().sum(0).sqrt() + 1e-6)
        torch.testing.assert_close(scores[name].double(), wanted, rtol=1e-5, atol=1e-8)


def test_splash_keeps_image_and_text_apart() -> None:
    model = tiny_llama()
    model.config.image_token_id = 5
    batches = [{**b, "input_ids": b["input_ids"].index_fill(1, torch.tensor([1, 2]), 5)} for b in token_batches()]
    linears = find_linears(model)
    image = score_model("splash", model, linears, batches, tokens="image")
    relative = score_model("splash", model, linears, batches, tokens="relative")
    name = "model.layers.0.self_attn.q_proj"
    kept: dict[str, list[Tensor]] = {"image": [], "text": []}

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        for row, ids, real in zip(args[0], batch["input_ids"], batch["attention_mask"], strict=True):
            for token, number, is_real in zip(row, ids, real, strict=True):
                if is_real:
                    kept["image" if number == 5 else "text"].append(token)

    hook = linears[name].register_forward_pre_hook(see)
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    hook.remove()
    tokens = {kind: torch.stack(found) for kind, found in kept.items()}
    weight = linears[name].weight.abs()
    torch.testing.assert_close(
        image[name], weight * (tokens["image"].square().sum(0).sqrt() + 1e-6), rtol=1e-5, atol=1e-8
    )
    rms = {kind: found.square().mean(0).sqrt() for kind, found in tokens.items()}
    torch.testing.assert_close(relative[name], weight * rms["image"] / rms["text"], rtol=1e-4, atol=1e-8)
    with pytest.raises(DormantError, match="has no image token"):
        score_model(
            "splash", model, linears, [{**b, "input_ids": b["input_ids"].clamp(min=6)} for b in batches], tokens="image"
        )


def test_moments_leave_padding_out() -> None:
    model = tiny_llama()
    moments = input_moments(model, find_linears(model), token_batches())
    for name, tokens in seen_inputs(model, padded=False).items():
        torch.testing.assert_close(moments[name].double(), tokens.mT @ tokens, rtol=1e-4, atol=1e-5)


def test_magnitude_and_random_look_at_no_data() -> None:
    model = tiny_llama()
    linears = find_linears(model)
    for name, score in score_model("magnitude", model, linears).items():
        assert score.equal(linears[name].weight.abs())
    one, same, other = (score_model("random", model, linears, seed=seed) for seed in (0, 0, 1))
    for name in linears:
        assert one[name].equal(same[name])
        assert not one[name].equal(other[name])
        assert 0.4 < one[name].mean() < 0.6


def test_calibration_is_asked_for() -> None:
    model = tiny_llama()
    for score in ("wanda", "splash"):
        with pytest.raises(DormantError, match=f"score='{score}' looks at data: give calibration"):
            score_model(score, model, find_linears(model))
        with pytest.raises(DormantError, match="calibration is empty"):
            score_model(score, model, find_linears(model), [])


def test_scoring_leaves_the_model_as_it_was() -> None:
    model = tiny_llama().train()
    before = [p.clone() for p in model.parameters()]
    score_model("wanda", model, find_linears(model), token_batches())
    assert model.training
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert all(p.equal(b) and p.grad is None for p, b in zip(model.parameters(), before, strict=True))


def test_dowser_is_the_mean_over_probes_and_samples() -> None:
    model = tiny_llama()
    linears = find_linears(model)
    whole, half = token_batches(2)
    batches = [whole, {name: value[:1] for name, value in half.items()}]
    scores = score_model("dowser", model, linears, batches, probes=3, seed=4)
    name = "model.layers.1.mlp.up_proj"
    kept: dict[str, Tensor] = {}
    hook = linears[name].register_forward_hook(lambda _, args, out: kept.update(x=args[0], y=out))
    generator, products = torch.Generator().manual_seed(4), []
    for batch, size in zip(batches, (4, 1), strict=True):
        for _ in range(3):
            last = model(**batch).logits[:, -1]
            signs = torch.randint(0, 2, last.shape, generator=generator) * 2.0 - 1
            moved = torch.autograd.grad((signs * last).sum() / size, kept["y"])[0].abs().mean((0, 1))
            products += [torch.outer(moved, kept["x"].detach().abs().mean((0, 1)))] * size
    hook.remove()
    wanted = linears[name].weight.detach().abs() * torch.stack(products).mean(0)
    torch.testing.assert_close(scores[name], wanted, rtol=1e-4, atol=1e-12)


def test_dowser_needs_no_data() -> None:
    model = tiny_llama().requires_grad_(False)
    linears = find_linears(model)
    options = {"prompts": 4, "length": 9, "batch_size": 2, "probes": 2}
    one, same, other = (score_model("dowser", model, linears, seed=seed, **options) for seed in (0, 0, 1))
    for name in linears:
        assert one[name].equal(same[name])
        assert not one[name].equal(other[name])
    prompts = list(written_prompts(model, 4, 9, 2, seed=0))
    assert [tuple(p["input_ids"].shape) for p in prompts] == [(2, 9), (2, 9)]
    assert all((p["input_ids"][:, 0] == model.config.bos_token_id).all() for p in prompts)


@pytest.mark.parametrize("budget", [1, 8000, 1 << 30])
def test_fisher_squares_the_gradient_of_each_sample(budget: int) -> None:
    model = tiny_llama()
    linears = find_linears(model)
    batches = [{**b, "labels": b["input_ids"].masked_fill(b["attention_mask"] == 0, -100)} for b in token_batches(2)]
    scores = score_model("fisher", model, linears, batches, budget_bytes=budget)
    wanted = {name: torch.zeros_like(m.weight) for name, m in linears.items()}
    for batch in batches:
        for i in range(4):
            model.zero_grad()
            model(**{n: v[i : i + 1] for n, v in batch.items()}).loss.backward()
            for name, module in linears.items():
                wanted[name] += module.weight.grad.square() / 8
    for name in linears:
        torch.testing.assert_close(scores[name], wanted[name], rtol=1e-3, atol=1e-10)
    with pytest.raises(DormantError, match="score='fisher' needs labels"):
        dict(score_model("fisher", model, linears, token_batches()))


def labelled(count: int = 2) -> list[dict[str, Tensor]]:
    batches = token_batches(count)
    return [{**b, "labels": b["input_ids"].masked_fill(b["attention_mask"] == 0, -100)} for b in batches]


def test_mnaft_importance_is_activation_times_gradient_per_modality() -> None:
    model = tiny_llama()
    model.config.image_token_id = 5
    batches = [{**b, "input_ids": b["input_ids"].index_fill(1, torch.tensor([1, 2]), 5)} for b in labelled()]
    name = "model.layers.1.mlp.down_proj"
    down = model.get_submodule(name)
    kept: dict[str, list[Tensor]] = {"image": [], "text": []}
    held: list[Tensor] = []
    hook = down.register_forward_pre_hook(lambda _, args: (args[0].retain_grad(), held.append(args[0]))[0])
    for batch in batches:
        held.clear()
        model(**batch).loss.backward()
        effect = (held[0] * held[0].grad).abs().detach()
        for row, ids, real in zip(effect, batch["input_ids"], batch["attention_mask"], strict=True):
            for token, number, is_real in zip(row, ids, real, strict=True):
                if is_real:
                    kept["image" if number == 5 else "text"].append(token)
    hook.remove()
    found = measure_importance(model, {name: down}, batches)[name]
    for kind, tokens in kept.items():
        torch.testing.assert_close(found[kind], torch.stack(tokens).mean(0), rtol=1e-4, atol=1e-12)


def test_mnaft_ranks_agnostic_then_protected_then_the_rest() -> None:
    importance = {"text": torch.tensor([9.0, 1.0, 0.1, 0.3]), "image": torch.tensor([9.0, 0.2, 1.1, 0.3])}
    order = neuron_scores(importance, 0.25, 0.9, ("text",)).argsort().tolist()
    assert order == [2, 3, 1, 0]  # the image's own, equal for both, the text's own, agnostic
    assert neuron_scores(importance, 0.25, 0.9, ()).argsort().tolist() == [3, 1, 2, 0]
    with pytest.raises(DormantError, match=r"protect=\['touch'\]: the calibration data has text, image tokens only"):
        neuron_scores(importance, 0.25, 0.9, ("touch",))


def test_mnaft_scores_whole_neurons() -> None:
    model = tiny_llama()
    mlps = find_linears(model, ("gate_proj", "up_proj", "down_proj"))
    scores = score_model("mnaft", model, mlps, labelled())
    for layer in range(2):
        gate, up, down = (scores[f"model.layers.{layer}.mlp.{part}_proj"] for part in ("gate", "up", "down"))
        assert gate.equal(up)
        assert down.equal(gate.mT)
        assert (gate.std(1) < 1e-6).all()
    with pytest.raises(DormantError, match="a neuron needs exactly"):
        score_model("mnaft", model, find_linears(model), labelled())
    with pytest.raises(DormantError, match="score='mnaft' needs labels"):
        score_model("mnaft", model, mlps, token_batches())
