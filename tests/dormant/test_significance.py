"""Significance scores against slow oracles; padding is left out where it must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from recompose_models import tiny_llama, token_batches
from tiny_mllms import FAMILIES, Family
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.significance import dowser, input_moments, score_model
from pairalign.dormant.significance.dowser import written_prompts


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


def dowser_by_hand(
    model: nn.Module, linears: dict[str, nn.Linear], batches: list[dict[str, Tensor]], probes: int, seed: int
) -> dict[str, Tensor]:
    """One probe at a time through the whole graph, one token at a time, gradients asked for at every output."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        m.register_forward_hook(lambda _, args, out, name=name: kept.update({name: (args[0], out)}))
        for name, m in linears.items()
    ]
    generator, found = torch.Generator().manual_seed(seed), {n: torch.zeros_like(m.weight) for n, m in linears.items()}
    for batch in batches:
        mask = batch["attention_mask"].bool()
        ends = [max(n for n, real in enumerate(row) if real) for row in mask.tolist()]
        for _ in range(probes):
            every = model(**batch).logits
            last = torch.stack([row[end] for row, end in zip(every, ends, strict=True)])
            signs = torch.randint(0, 2, last.shape, generator=generator) * 2.0 - 1
            total = (signs * last).sum() / len(last)
            gradients = torch.autograd.grad(total, [y for _, y in kept.values()], allow_unused=True)
            for (name, (x, _)), gradient in zip(kept.items(), gradients, strict=True):
                real = mask if x.shape[:2] == mask.shape else torch.ones(x.shape[:-1], dtype=torch.bool)
                moved = torch.stack([g for g, r in zip(gradient.flatten(0, -2), real.flatten(), strict=True) if r])
                large = torch.stack([v for v, r in zip(x.flatten(0, -2), real.flatten(), strict=True) if r])
                found[name] += len(last) * torch.outer(moved.abs().mean(0), large.detach().abs().mean(0))
    for hook in hooks:
        hook.remove()
    samples = sum(len(batch["attention_mask"]) for batch in batches)
    return {n: linears[n].weight.detach().abs() * total / probes / samples for n, total in found.items()}


def close_enough(scores: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name, score in wanted.items():
        assert score.max() > 0, name
        torch.testing.assert_close(scores[name], score, rtol=1e-5, atol=1e-5 * float(score.max()))


def test_dowser_is_the_mean_over_batches_and_probes_without_padding() -> None:
    model = tiny_llama()
    linears, batches = find_linears(model), token_batches(2)
    batches[1] = {name: value[:1].flip(1) for name, value in batches[1].items()}  # one sample, padded on the left
    scores = score_model("dowser", model, linears, batches, probes=3, seed=4)
    close_enough(scores, dowser_by_hand(model, linears, batches, 3, 4))


def prompts(family: Family, images: bool) -> dict[str, Tensor]:
    """Two prompts of unlike length, padded, with an image each or none."""
    rows = [[1, 5, *family.image, 6, 7, 8], [1, 9, *family.image, 4]] if images else [[1, 5, 6, 7, 8], [1, 9, 4]]
    ids = torch.zeros(2, len(rows[0]), dtype=torch.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), **family.inputs(ids, 2 * images)}


def test_answers_in_the_calibration_change_no_dowser_score() -> None:
    model = tiny_llama(layers=1)
    linears, batches = find_linears(model), token_batches()
    answered = [{**batch, "labels": batch["input_ids"]} for batch in batches]
    plain, other = (score_model("dowser", model, linears, of, probes=2, seed=4) for of in (batches, answered))
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_an_option_that_a_score_does_not_take_is_named() -> None:
    model = tiny_llama(layers=1)
    with pytest.raises(DormantError, match=r"score 'dowser' has no option 'probe'\. Did you mean 'probes'"):
        score_model("dowser", model, find_linears(model), token_batches(), probe=2)


@pytest.mark.parametrize("images", [True, False], ids=["images", "text"])
@pytest.mark.parametrize("name", FAMILIES)
def test_dowser_by_layer_is_dowser_by_hand(name: str, images: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = FAMILIES[name].model(), prompts(FAMILIES[name], images)
    linears = find_linears(model)
    wanted = dowser_by_hand(model, linears, [batch], 2, 0)
    with monkeypatch.context() as patched:
        patched.setattr(dowser, "whole", lambda *_: pytest.fail("the whole graph was kept"))
        close_enough(score_model("dowser", model, linears, [batch], probes=2), wanted)
    monkeypatch.setattr(dowser, "decoder_layers", lambda *_: {})
    close_enough(score_model("dowser", model, linears, [batch], probes=2), wanted)


@pytest.mark.parametrize("trained", [True, False])
def test_dowser_hears_a_vision_tower_and_leaves_gradients_as_they_were(trained: bool) -> None:
    family = FAMILIES["llava"]
    model, batch = family.model(), prompts(family, images=True)
    linears = find_linears(model, r".*layers\.0\..*(q_proj|fc1)")
    assert {layer.split(".")[1] for layer in linears} == {"vision_tower", "language_model"}
    wanted = dowser_by_hand(model, linears, [batch], 2, 0)
    model.requires_grad_(trained)
    close_enough(score_model("dowser", model, linears, [batch], probes=2), wanted)
    assert all(p.requires_grad is trained and p.grad is None for p in model.parameters())
    with pytest.raises(DormantError, match=r"the calibration data never reached model\.vision_tower"):
        score_model("dowser", model, linears, [prompts(family, images=False)], probes=2)


@pytest.mark.parametrize("handed", [True, False], ids=["handed something", "by itself"])
def test_dowser_keeps_the_whole_graph_of_a_layer_that_remembers(handed: bool) -> None:
    model = tiny_llama()
    layer, calls = model.model.layers[0], [0]

    def remember(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        calls[0] += 1
        return output * (1 + calls[0] % 2)

    if handed:
        layer.register_forward_pre_hook(lambda _, args, kwargs: (args, {**kwargs, "shared": {}}), with_kwargs=True)
    else:
        layer.register_forward_hook(remember)
    linears = find_linears(model)
    scores = score_model("dowser", model, linears, token_batches(1), probes=1)
    assert calls == [0 if handed else 3]  # cut, run again and found unlike, whole
    calls[0] = 2
    close_enough(scores, dowser_by_hand(model, linears, token_batches(1), 1, 0))


def test_dowser_holds_one_layers_graph_at_a_time() -> None:
    most = {}
    for layers in (3, 9):
        model = tiny_llama(layers=layers)
        alive = most[layers] = [0, 0]

        def pack(value: Tensor, alive: list[int] = alive) -> Any:
            held = Held(value.detach(), alive)  # an output that held itself would never be freed
            alive[0] += 1
            alive[1] = max(alive)
            return held

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.value):
            score_model("dowser", model, find_linears(model), token_batches(1), probes=2)
    assert most[9][1] <= most[3][1] + 3


class Held:
    """A tensor that a graph holds, counted while it does."""

    def __init__(self, value: Tensor, alive: list[int]) -> None:
        self.value, self.alive = value, alive

    def __del__(self) -> None:
        self.alive[0] -= 1


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
