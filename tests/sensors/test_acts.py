"""Weights that act from their sensor on: what stands before it, or without it, is the base's, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sensing import CLOUD, SILENT, STRUCTURES, TOUCH, batch, clouds, gels, logits, sensing, settings, taught
from tiny_mllms import FAMILIES, Family
from torch import Tensor

import pairalign as pa
from pairalign.core.errors import DormantError
from pairalign.dormant.model import DormantModel, get_dormant_model
from pairalign.dormant.updates import Rows
from pairalign.sensors.model import SensorModel


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def llava() -> Family:
    return FAMILIES["llava"]


def off(model: SensorModel, *asked: Tensor, **inputs: Any) -> Tensor:
    with model.llm.disable_adapter():  # type: ignore[operator]
        return logits(model, *asked, **inputs)


def differs(one: Tensor, other: Tensor) -> list[list[bool]]:
    """Which tokens' logits (B, T, V) are not the same to the bit."""
    return (one.view(torch.int32) != other.view(torch.int32)).any(-1).tolist()


PADDED = [
    (name, structure, ("left", "right")[(i + j) % 2])
    for i, name in enumerate(sorted(FAMILIES))
    for j, structure in enumerate(STRUCTURES)
]


@pytest.mark.parametrize(("name", "structure", "side"), PADDED)
def test_only_tokens_from_the_sensor_on_are_not_the_bases(name: str, structure: str, side: str) -> None:
    """In one batch: a prompt with a touch behind a picture, one without any, one that begins with it.

    Every family with every structure, and either with padding on both sides.
    """
    family = FAMILIES[name]
    model = taught(sensing(family), structure=structure)
    rows = [[1, *family.image, 5, 6, *[TOUCH] * 4, 7, 8], [1, 5, 9, *family.image, 7], [1, *[TOUCH] * 4, 9, 8]]
    ids, mask = batch(rows, side)
    inputs = {"signals": {"touch": gels(2)}, **family.inputs(ids, 2)}
    found = differs(logits(model, ids, mask, **inputs), off(model, ids, mask, **inputs))
    for n, row in enumerate(rows):
        real = [changed for changed, kept in zip(found[n], mask[n].tolist(), strict=True) if kept]
        begins = row.index(TOUCH) if TOUCH in row else len(row)
        assert real == [False] * begins + [True] * (len(row) - begins)


def test_without_a_sensor_in_the_prompt_nothing_acts_at_all(family: Family) -> None:
    model, base = taught(sensing(family)), sensing(family)
    ids, mask = batch([[1, *family.image, 5, 6], [1, 7, 8]])
    inputs = family.inputs(ids, 1)
    assert torch.equal(logits(model, ids, mask, **inputs), logits(base, ids, mask, **inputs))
    assert torch.equal(logits(model.llm, ids, mask, **inputs), logits(base, ids, mask, **inputs))  # and past it


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("cached", [True, False], ids=["cache", "no cache"])
def test_generated_tokens_follow_what_their_prompt_does(family: Family, beams: int, cached: bool) -> None:
    """Each as one pass over the whole text says: the cache, its absence and beams change nothing."""
    model = taught(sensing(family))
    ids, mask = batch([[1, *family.image, 5, *[TOUCH] * 4, 6], [1, 5, 9, 8, 4, 7]], "left")
    inputs = {"signals": {"touch": gels(1)}, **family.inputs(ids, 1)}
    said = model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=4,
        do_sample=False,
        num_beams=beams,
        use_cache=cached,
        suppress_tokens=SILENT,
        output_logits=True,
        return_dict_in_generate=True,
        **inputs,
    )
    if beams > 1:
        assert len(said.sequences) == 2
        return  # its logits are of beams that may be gone; that they are k · B rows is what is tried
    new = said.sequences[:, ids.shape[1] :]
    text, attended = torch.cat([ids, new], 1), torch.cat([mask, torch.ones_like(new)], 1)
    more = {**inputs, **family.inputs(text, 1)}
    whole = logits(model, text, attended, **more)[:, ids.shape[1] - 1 : -1]
    assert torch.allclose(torch.stack(said.logits, 1), whole, atol=1e-4)
    plain = off(model, text, attended, **more)[:, ids.shape[1] - 1 : -1]
    assert differs(whole, plain) == [[True] * 4, [False] * 4]


def test_generate_works_out_what_acts_once_and_anew_in_the_next_call(
    llava: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = taught(sensing(llava))
    taken: list[Rows] = []
    take = Rows.take
    monkeypatch.setattr(Rows, "take", lambda self, weight: (taken.append(self), take(self, weight))[1])
    ids, mask = batch([[1, 5, *[TOUCH] * 4, 6]])
    asked = {"attention_mask": mask, "signals": {"touch": gels(1)}, "do_sample": False, "suppress_tokens": SILENT}
    asked |= {"max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}
    first = model.generate(ids, **asked).logits[0]
    updates = list(model.llm.updates("touch").values())  # type: ignore[operator]
    assert sorted(map(id, taken)) == sorted(map(id, updates))
    for update in updates:
        update.values.data.mul_(-1)
    second = model.generate(ids, **asked).logits[0]
    assert not torch.allclose(first, second, atol=1e-2)
    assert torch.allclose(second, logits(model, ids, mask, signals={"touch": gels(1)})[:, -1], atol=1e-4)


def test_a_call_that_goes_on_with_a_cache_knows_what_was_read_into_it(llava: Family) -> None:
    model = taught(sensing(llava))
    ids, mask = batch([[1, 5, *[TOUCH] * 4, 6, 7], [1, 5, 9, 8, 4, 7, 6, 3]])
    whole = logits(model, ids, mask, signals={"touch": gels(1)})
    first = model(ids[:, :7], {"touch": gels(1)}, attention_mask=mask[:, :7], use_cache=True)
    then = model(ids[:, 7:], attention_mask=mask, past_key_values=first.past_key_values)
    assert torch.allclose(then.logits[:, 0], whole[:, 7], atol=1e-5)
    with model.llm.disable_adapter():  # type: ignore[operator]
        bare = model(ids[:, 7:], attention_mask=mask, past_key_values=first.past_key_values)
    assert not torch.allclose(bare.logits[0], then.logits[0], atol=1e-3)


def test_a_token_follows_the_last_sensor_before_it(llava: Family) -> None:
    """Two sensors that share all their weights: each prompt is as if the other were not there, and in one with both a
    token is computed as its own sensor alone computes it."""
    both = taught(taught(sensing(llava, "touch", "cloud")), "cloud")
    touched, clouded = (taught(sensing(llava, "touch", "cloud"), name) for name in ("touch", "cloud"))
    shared = [both.llm.get_submodule(name) for name in both.llm.masks("touch")]  # type: ignore[operator,union-attr]
    assert all(len(layer.updates) == 2 for layer in shared)
    for alone, token, given in ((touched, TOUCH, {"touch": gels(1)}), (clouded, CLOUD, {"cloud": clouds(1)})):
        ids, mask = batch([[1, 5, *[token] * 4, 6]])
        assert torch.equal(logits(both, ids, mask, signals=given), logits(alone, ids, mask, signals=given))
    ids, mask = batch([[1, 5, *[TOUCH] * 4, 6, 7, *[CLOUD] * 4, 8, 9]])
    given = {"touch": gels(1), "cloud": clouds(1)}
    mixed, first = logits(both, ids, mask, signals=given), logits(touched, ids, mask, signals=given)
    assert differs(mixed, first) == [[False] * 8 + [True] * 6]


def test_sensors_that_act_everywhere_still_need_weights_of_their_own(llava: Family) -> None:
    model = taught(sensing(llava, "touch", "cloud"), acts="always")
    masks = model.llm.masks("touch")  # type: ignore[operator]
    with pytest.raises(DormantError, match=r"share \d+ weights"):
        get_dormant_model(model.llm, settings(), sensor="cloud", masks=masks)
    assert list(model.llm.dormant) == ["touch"]  # type: ignore[arg-type]


def test_what_shares_weights_is_not_merged(llava: Family) -> None:
    model = taught(taught(sensing(llava, "touch", "cloud")), "cloud")
    with pytest.raises(DormantError, match="share"):
        model.llm.merge_and_unload()  # type: ignore[operator]
    assert list(model.llm.dormant) == ["touch", "cloud"]  # type: ignore[arg-type]
    model.llm.uninstall("cloud")  # type: ignore[operator]
    model.llm.merge_and_unload()  # type: ignore[operator]


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_recomputed_in_a_backward_pass_is_what_was_computed(family: Family, reentrant: bool) -> None:
    grads = []
    for checkpointed in (False, True):
        model = taught(sensing(family))
        if checkpointed:
            options = {"use_reentrant": reentrant}
            model.llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)  # type: ignore[operator]
            model.llm.enable_input_require_grads()  # type: ignore[operator]
        ids, mask = batch([[1, *family.image, 5, *[TOUCH] * 4, 6], [1, 5, 9, 8]])
        model.train()
        model(ids, {"touch": gels(1)}, attention_mask=mask, **family.inputs(ids, 1)).logits.square().sum().backward()
        grads.append({name: p.grad for name, p in model.llm.named_parameters() if p.requires_grad})
    for name, grad in grads[0].items():
        assert grad is not None
        assert grad.any()
        assert torch.allclose(grad, grads[1][name], rtol=1e-4, atol=1e-6), name


def test_another_checkpointing_is_refused_rather_than_wrong(llava: Family) -> None:
    from torch.utils.checkpoint import checkpoint

    model = taught(sensing(llava))
    ids, mask = batch([[1, 5, *[TOUCH] * 4, 6]])
    layer = model.llm.get_decoder().layers[0]  # type: ignore[operator,union-attr]
    forward = layer.forward
    layer.forward = lambda *args, **named: checkpoint(forward, *args, use_reentrant=False, **named)
    loss = model(ids, {"touch": gels(1)}, attention_mask=mask).logits.sum()
    with pytest.raises(DormantError, match="gradient_checkpointing_enable"):
        loss.backward()


def test_modules_without_tokens_in_their_order_are_refused(llava: Family) -> None:
    model = sensing(llava)
    with pytest.raises(DormantError, match="outside of the text decoder"):
        get_dormant_model(
            model.llm,
            pa.DormantConfig(structure="rows", target_modules=r".*vision_tower.*q_proj", acts="sensor"),
            sensor="touch",
        )
    assert not isinstance(model.llm, DormantModel)


def test_masters_of_a_base_in_bf16_act_alike(family: Family) -> None:
    model = taught(sensing(family))
    model.llm.to(torch.bfloat16)
    ids, mask = batch([[1, *family.image, 5, *[TOUCH] * 4, 6], [1, 5, 9, 8]])
    inputs: dict[str, Any] = {"signals": {"touch": gels(1)}}
    inputs |= {k: v.bfloat16() if v.is_floating_point() else v for k, v in family.inputs(ids, 1).items()}
    on, plain = logits(model, ids, mask, **inputs), off(model, ids, mask, **inputs)
    found = (on.view(torch.int16) != plain.view(torch.int16)).any(-1).tolist()
    begins = 2 + len(family.image)
    assert not any(found[0][:begins])
    assert all(found[0][begins : begins + 5])
    assert not any(found[1])
