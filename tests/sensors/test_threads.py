"""One model, several requests at once: what a call is about stays with the call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import torch
from sensing import TOUCH, batch, gels, logits, sensing
from tiny_mllms import FAMILIES, Family
from torch import Tensor, nn

import pairalign as pa
from pairalign.dormant.model import DormantModel
from pairalign.sensors.model import SensorModel

THREADS = 4


@pytest.fixture(params=["qwen2_5_vl", "llava"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def at_once(asks: list[Callable[[], Any]], rounds: int = 5) -> list[list[Any]]:
    """What each says in every round, in a thread of its own; all begin a round together."""
    barrier = Barrier(len(asks))

    def turn(ask: Callable[[], Any]) -> list[Any]:
        said = []
        for _ in range(rounds):
            barrier.wait(60)
            said.append(ask())
        return said

    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(turn, asks))


def requests(model: SensorModel, family: Family) -> list[Callable[[], Tensor]]:
    """Prompts of one shape, each with a touch of its own, the last with none."""
    touched, mask = batch([[1, *[TOUCH] * 4, 5, *family.image, 6, 7]])
    plain, _ = batch([[1, 8, 9, 10, 11, 5, *family.image, 6, 7]])
    given = family.inputs(touched, 1)

    def ask(touch: Tensor) -> Tensor:
        return logits(model, touched, mask, signals={"touch": touch}, **given)

    asks = [partial(ask, gels(1) + n) for n in range(THREADS - 1)]
    return [*asks, lambda: logits(model, plain, mask, **given)]


def test_each_request_is_answered_as_alone(family: Family) -> None:
    asks = requests(sensing(family), family)
    alone = [ask() for ask in asks]
    assert len({float(each.sum()) for each in alone}) == THREADS
    for each, said in zip(alone, at_once(asks), strict=True):
        assert all(torch.equal(one, each) for one in said)


def test_generated_answers_too(family: Family) -> None:
    """Of prompts of other lengths, too: some models keep positions between the tokens of an answer."""
    model = sensing(family)

    def ask(n: int) -> Tensor:
        ids, mask = batch([[1, *[TOUCH] * 4, *[5] * n, *family.image, *family.image * (n % 2), 6, 7]])
        inputs = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, **family.inputs(ids, 1 + n % 2)}
        touch = {"touch": gels(1) * n}
        said = model.generate(ids, touch, output_logits=True, return_dict_in_generate=True, **inputs)
        return torch.stack(said.logits)

    asks = [partial(ask, n) for n in range(1, THREADS + 1)]
    alone = [each() for each in asks]
    assert not torch.equal(alone[0], alone[1])
    for expected, said in zip(alone, at_once(asks, 3), strict=True):
        assert all(torch.equal(one, expected) for one in said)


def test_an_answer_goes_on_as_it_began_though_another_prompt_came_between(family: Family) -> None:
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, *family.image, 6, 7]])
    other, others = batch([[1, 9, *family.image, *family.image, *[8] * 9]])
    inputs = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, **family.inputs(ids, 1)}
    told = {"output_logits": True, "return_dict_in_generate": True}
    expected = torch.stack(model.generate(ids, {"touch": gels(1)}, **inputs, **told).logits)

    def between(_: Tensor, scores: Tensor) -> Tensor:
        logits(model, other, others, **family.inputs(other, 2))
        return scores

    said = model.generate(ids, {"touch": gels(1)}, logits_processor=[between], **inputs, **told)
    assert torch.equal(torch.stack(said.logits), expected)


def trained(base: nn.Module) -> DormantModel:
    config = pa.DormantConfig(structure="rows", density=0.25, score="magnitude")
    model = pa.get_dormant_model(base, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5)
    return model.requires_grad_(False).eval()


def test_a_look_at_the_base_is_of_its_own_thread(family: Family) -> None:
    model = sensing(family)
    model.llm = trained(model.llm)
    ids, mask = batch([[1, 8, 9, *family.image, 6, 7]])

    def updated() -> Tensor:
        return logits(model, ids, mask, **family.inputs(ids, 1))

    def base() -> Tensor:
        with model.llm.disable_adapter():
            return updated()

    alone = [updated(), base()]
    assert not torch.equal(*alone)
    for expected, said in zip(alone, at_once([updated, base], 20), strict=True):
        assert all(torch.equal(one, expected) for one in said)


def test_a_request_within_another_ones_block_is_its_own(family: Family) -> None:
    """As a stopping criterion may ask the same model something else."""
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5, *family.image, 6, 7]])
    plain, _ = batch([[1, 8, 9, 10, 11, 5, *family.image, 6, 7]])
    expected = logits(model, plain, mask, **family.inputs(plain, 1))
    seen: list[Tensor] = []

    def ask(*_: Any) -> None:
        if not seen:
            seen.append(torch.empty(0))
            seen[0] = logits(model, plain, mask, **family.inputs(plain, 1))

    handle = model.llm.get_output_embeddings().register_forward_pre_hook(ask)
    touched = logits(model, ids, mask, signals={"touch": gels(1)}, **family.inputs(ids, 1))
    handle.remove()
    assert torch.equal(seen[0], expected)
    assert not torch.equal(touched, expected)
