"""What stands before the first signal, read without a graph: the same logits and gradients as one pass over all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sensing import TOUCH, batch, gels, sensing, taught
from tiny_mllms import FAMILIES, Family
from torch import Tensor

from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes, agree, cut

KEEP = 3


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def asked(family: Family) -> dict[str, Any]:
    """Prompts of unequal lengths before and behind their touches, one picture in each."""
    rows = [
        [1, 5, *family.image, 6, 7, 8, 9, *[TOUCH] * 4, 7, 8, 3],
        [1, 5, 5, 4, *family.image, 6, 7, 8, 9, 8, 7, *[TOUCH] * 4, 7, *[TOUCH] * 4, 8, 3, 4, 5],
        [1, *family.image, 6, 7, 8, 9, 3, *[TOUCH] * 4, 3, 4],
    ]
    ids, mask = batch(rows, "left")
    return {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(4)}, **family.inputs(ids, 3)}


def whole(model: SensorModel, inputs: dict[str, Any]) -> Tensor:
    found: Tensor = model(**inputs).logits[:, -KEEP:]
    return found


def gradients(model: SensorModel, logits: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    logits.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_logits_and_gradients_are_those_of_the_whole(family: Family) -> None:
    model, inputs = taught(sensing(family)).train(), asked(family)
    expected = whole(model, inputs)
    theirs = gradients(model, expected)
    found = Prefixes().logits(model, inputs, KEEP)
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-4)
    ours = gradients(model, found)
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        assert torch.allclose(ours[name], grad, rtol=1e-3, atol=1e-4 * float(grad.abs().max())), name


def test_what_is_kept_is_used_by_its_key_alone(family: Family) -> None:
    """Kept parts serve another batch; with one picture's key, the other picture's parts are what it gets."""
    model, inputs = taught(sensing(family)).train(), asked(family)
    prefixes, expected = Prefixes(gib=0.1), whole(model, inputs)
    assert torch.allclose(_given(prefixes.logits(model, inputs, KEEP, ["a", "b", "c"])), expected, atol=1e-4)
    others = {n: v for n, v in inputs.items() if n != "pixel_values"} | {"pixel_values": inputs["pixel_values"] * 3 + 1}
    again = _given(prefixes.logits(model, inputs, KEEP, ["a", "b", "c"]))
    assert torch.allclose(again, expected, atol=1e-4)
    assert torch.allclose(_given(prefixes.logits(model, others, KEEP, ["a", "b", "c"])), again)  # nothing was read
    fresh = _given(prefixes.logits(model, others, KEEP, ["d", "e", "f"]))
    assert torch.allclose(fresh, whole(model, others), atol=1e-4)
    assert not torch.allclose(fresh, again, atol=1e-3)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    family = FAMILIES["llava"]
    model, inputs = taught(sensing(family)), asked(family)
    prefixes = Prefixes(gib=6e-6)
    first = prefixes.logits(model, inputs, KEEP, ["a", "b", "c"])
    assert 0 < sum(row.bytes for row in prefixes.kept.values()) <= 6e-6 * 2**30
    assert len(prefixes.kept) < 3
    assert torch.equal(_given(prefixes.logits(model, inputs, KEEP, ["a", "b", "c"])), _given(first))


def test_pictures_behind_a_signal_and_short_prompts_are_read_whole() -> None:
    family = FAMILIES["llava"]
    model = taught(sensing(family))
    for rows in ([[1, 5, 6, 7, 8, 9, 5, 4, 4, 4, *[TOUCH] * 4, *family.image, 6, 7, 8]], [[1, *[TOUCH] * 4, 6, 7, 8]]):
        ids, mask = batch(rows, "left")
        assert cut(model, ids, mask, KEEP) is None


def test_a_model_that_looks_ahead_is_found_out() -> None:
    family = FAMILIES["llava"]
    model, inputs = taught(sensing(family)), asked(family)
    expected = whole(model, inputs).detach()
    assert agree(_given(Prefixes().logits(model, inputs, KEEP)), expected)
    for layer in model.llm.get_decoder().layers:  # type: ignore[operator,union-attr]
        layer.self_attn.is_causal = False
        layer.register_forward_pre_hook(_look_ahead, with_kwargs=True)
    ahead = whole(model, inputs).detach()
    assert not torch.allclose(ahead, expected, atol=1e-2)
    assert not agree(_given(Prefixes().logits(model, inputs, KEEP)), ahead)


def _look_ahead(layer: Any, args: Any, named: dict[str, Any]) -> Any:
    return args, {**named, "attention_mask": None}


def _given(logits: Tensor | None) -> Tensor:
    assert logits is not None
    return logits.detach()
