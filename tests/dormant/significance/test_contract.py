"""What every score promises on every family, with pictures, answers, padding on either side, tied embeddings, bf16."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from tiny_mllms import FAMILIES
from torch import Tensor, nn

import pairalign as pa
from pairalign.core.errors import ConfigError, DormantError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.plan import plan_dormant
from pairalign.dormant.provenance import Calibration
from pairalign.dormant.significance import score_model
from pairalign.dormant.significance.scores import _SCORES
from pairalign.finetune.methods import create_method

OPTIONS: dict[str, dict[str, Any]] = {"dowser": {"probes": 2}, "splash": {"tokens": "relative"}}  # "all" counts padding
SCORES = sorted(_SCORES)
LABELLED = ("fisher", "mnaft", "taylor")
NEURONS = ("mnaft", "taylor")
ANSWER = 2  # tokens at the end of each prompt


@functools.cache
def model_of(family: str, dtype: torch.dtype = torch.float32) -> Any:
    return FAMILIES[family].model().to(dtype)


def rows_of(family: str) -> list[list[int]]:
    """Two prompts of unlike length; all pictures stand in the first."""
    image = FAMILIES[family].image
    return [[1, 5, *image, 6, *image, 7, 8, 9], [1, 9, 4, 7]]


def batch_of(family: str, rows: list[list[int]], pictures: int, left: bool = True) -> dict[str, Tensor]:
    """Prompts with the last tokens as their answers, padded on one side."""
    length = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), length, dtype=torch.int64), torch.zeros(len(rows), length, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for n, row in enumerate(rows):
        start = length - len(row) if left else 0
        ids[n, start : start + len(row)] = torch.tensor(row)
        mask[n, start : start + len(row)] = 1
        end = start + len(row)
        labels[n, end - ANSWER - n : end] = ids[n, end - ANSWER - n : end]  # answers of 2 and 3 tokens
    inputs = FAMILIES[family].inputs(ids, pictures)
    pixels = inputs.get("pixel_values")
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, **inputs} | (
        {} if pixels is None else {"pixel_values": pixels.to(model_of(family).dtype)}
    )


def padded(family: str, left: bool) -> list[dict[str, Tensor]]:
    return [batch_of(family, rows_of(family), 2, left)]


def one_by_one(family: str) -> list[dict[str, Tensor]]:
    return [{**batch_of(family, [row], 2 * (not n)), "labels": label} for n, (row, label) in enumerate(_labels(family))]


def _labels(family: str) -> list[tuple[list[int], Tensor]]:
    both = padded(family, left=True)[0]["labels"]
    return [(row, both[n : n + 1, both.shape[1] - len(row) :]) for n, row in enumerate(rows_of(family))]


def linears_of(score: str, model: nn.Module) -> dict[str, nn.Linear]:
    return find_linears(model, "neurons" if score in NEURONS else None)


def scored(score: str, model: nn.Module, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """mnaft: of two tasks, the batches and the same ones of fewer answer tokens."""
    given = batches
    if score == "mnaft" and batches and "labels" in batches[0]:
        fewer = [{**batch, "labels": last_only(batch["labels"])} for batch in batches]
        given = Calibration.by_task({"long": batches, "short": fewer})
    return dict(score_model(score, model, linears_of(score, model), given, **OPTIONS.get(score, {})))


def last_only(labels: Tensor) -> Tensor:
    """Labels of the last answer token of each row alone."""
    behind = (labels != -100).flip(1).cumsum(1).flip(1)
    return labels.masked_fill(behind != 1, -100)


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    for name, score in wanted.items():
        assert score.isfinite().all()
        torch.testing.assert_close(found[name], score, rtol=tolerance, atol=tolerance * float(score.abs().max()))


def ranks(values: Tensor) -> Tensor:
    return values.flatten().argsort(stable=True).argsort().double()


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_padding_nor_how_samples_are_batched_changes_a_score(family: str) -> None:
    model = model_of(family)
    for score in SCORES:
        left = scored(score, model, padded(family, left=True))
        linears = linears_of(score, model)
        assert set(left) == set(linears)
        assert all(value.shape == linears[name].weight.shape for name, value in left.items())
        assert max(float(value.max()) for value in left.values()) > 0
        same(scored(score, model, padded(family, left=False)), left)
        if score != "dowser":  # its probes are drawn for each batch
            same(scored(score, model, one_by_one(family)), left)


@pytest.mark.parametrize("family", FAMILIES)
def test_fisher_weighs_answers_by_each_samples_own_loss(family: str) -> None:
    model = model_of(family)
    linears = find_linears(model)
    wanted = {name: torch.zeros_like(m.weight) for name, m in linears.items()}
    for batch in one_by_one(family):
        model.zero_grad()
        model(**batch).loss.backward()
        for name, module in linears.items():
            wanted[name] += module.weight.grad.square() / 2
    model.zero_grad()
    same(scored("fisher", model, padded(family, left=True)), wanted, 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_ranks_as_fp32_does(family: str) -> None:
    whole, half = model_of(family), FAMILIES[family].model().to(torch.bfloat16)
    half.load_state_dict(whole.state_dict())
    same_weights = FAMILIES[family].model()
    same_weights.load_state_dict(half.state_dict())  # rounded, so that it is the arithmetic that is compared
    batches = padded(family, left=True)
    rounded = [{n: v.bfloat16() if v.is_floating_point() else v for n, v in b.items()} for b in batches]
    for score in SCORES:
        one, other = scored(score, same_weights, batches), scored(score, half, rounded)
        for name in one:
            assert other[name].dtype == torch.float32, (score, name)
            agreed = torch.corrcoef(torch.stack([ranks(one[name]), ranks(other[name])]))[0, 1]
            assert agreed > 0.97, (score, name, float(agreed))


@pytest.mark.parametrize("score", SCORES)
def test_tied_embeddings_and_missing_data_are_told_or_handled(score: str) -> None:
    model = FAMILIES["llava"].model()
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    model.config.tie_word_embeddings = True
    before = [p.clone() for p in model.parameters()]
    assert all(value.isfinite().all() for value in scored(score, model, padded("llava", left=True)).values())
    assert all(p.equal(b) and p.grad is None for p, b in zip(model.parameters(), before, strict=True))
    if score in ("magnitude", "random"):
        return
    with pytest.raises(DormantError, match="calibration is empty"):
        scored(score, model, [])
    if score in LABELLED:
        plain = [{n: v for n, v in batch.items() if n != "labels"} for batch in padded("llava", left=True)]
        with pytest.raises(DormantError, match=f"score='{score}' needs labels"):
            scored(score, model, plain)


def test_a_vision_tower_is_told_sample_by_sample() -> None:
    model = model_of("qwen2_5_vl")
    linears = find_linears(model, r".*blocks\.0\.mlp\.(gate|down)_proj")
    found = dict(score_model("fisher", model, linears, padded("qwen2_5_vl", left=True)))
    alone = [batch for batch in one_by_one("qwen2_5_vl") if "pixel_values" in batch]
    same(found, {n: v / 2 for n, v in score_model("fisher", model, linears, alone).items()}, 1e-3)
    with pytest.raises(DormantError, match=r"never reached model\.visual\.blocks\.0"):
        dict(score_model("fisher", model, linears, [one_by_one("qwen2_5_vl")[1]]))


@pytest.mark.parametrize("options", [{"probs": 3}, {"seed": 3}, {"model": 3}, {"calibration": 3}])
def test_a_mistyped_option_is_named_with_its_value_and_the_known_ones(options: dict[str, int]) -> None:
    model = model_of("llava")
    wrong = next(iter(options))
    for call in (pa.get_dormant_model, plan_dormant):
        with pytest.raises(DormantError) as error:
            call(model, pa.DormantConfig(score="dowser", options=options))
        assert f"score 'dowser' has no option {wrong!r}" in str(error.value)
        assert f"{wrong}=3" in str(error.value)
        assert all(name in str(error.value) for name in ("probes", "prompts", "length", "batch_size"))
    with pytest.raises(DormantError, match="option probes='3' of score 'dowser'"):
        pa.get_dormant_model(model, pa.DormantConfig(score="dowser", options={"probes": "3"}))
    with pytest.raises(ConfigError, match=r"method 'ewc' has no option 'wieght'\. Did you mean 'weight'\?.*wieght=3"):
        create_method("ewc", {"wieght": 3})
    with pytest.raises(ConfigError, match=r"method 'bridge' has no option 'rank'\. Known: none"):
        create_method("bridge", {"rank": 3})
