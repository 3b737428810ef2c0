"""Recomposition through the own projector of every family."""

from __future__ import annotations

import pytest
import torch
from sensing import TOUCH, batch, gels, logits, make_sensor
from tiny_mllms import FAMILIES, Family
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.bridges.recomposition import Recomposition, find_projector, fit_recomposition
from pairalign.sensors.model import SensorModel


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def pictures(family: Family, count: int) -> list[dict[str, Tensor]]:
    found = []
    for n in range(count):
        inputs = family.images(1)
        draw = torch.Generator().manual_seed(n)
        inputs["pixel_values"] = torch.randn(inputs["pixel_values"].shape, generator=draw)
        found.append(inputs)
    return found


def image_vectors(family: Family, model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    made: list[Tensor] = []
    handle = find_projector(model).register_forward_hook(lambda _, args, out: made.append(out))
    with torch.no_grad():
        model.get_image_features(**inputs)  # type: ignore[operator]
    handle.remove()
    return made[0].flatten(0, -2)


def test_a_latent_that_says_everything_gives_the_pictures_own_vectors(family: Family) -> None:
    """Pictures whose tokens differ by one vector of few dimensions, and latents that are that vector."""
    model = family.model()
    inputs = pictures(family, 24)
    draw = torch.Generator().manual_seed(0)
    latent, turn = torch.randn(24, 3, generator=draw), torch.randn(3, 3, generator=draw)
    projector = find_projector(model)
    given = iter(latent)

    def shifted(_: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        moved = torch.zeros(args[0].shape[-1])
        moved[:3] = next(given) @ turn
        return (torch.zeros_like(args[0]) + moved, *args[1:])

    handle = projector.register_forward_pre_hook(shifted)
    fitted = fit_recomposition(model, inputs, latent, torch.ones(3), ridge=1e-6)
    given = iter(latent[5:6])
    expected = image_vectors(family, model, inputs[5])
    handle.remove()
    found = fitted(SensorFeatures(torch.zeros(1, 1, 8), latent[5:6], torch.zeros(1, 0)))[0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_it_answers_without_training_and_reads_the_shared_latent_alone(family: Family) -> None:
    base = family.model()
    made = make_sensor(base)
    shared = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    gate = torch.tensor([1.0, 1, 1, 1, 0, 0])
    made.bridge = fit_recomposition(base, pictures(family, 20), shared, gate)
    model = SensorModel(base)
    model.add("touch", made, TOUCH)
    ids, mask = batch([[1, *[TOUCH] * made.length, 5]])
    one, other = (logits(model, ids, mask, signals={"touch": gels(1, seed)}) for seed in (0, 9))
    assert not torch.allclose(one, other)
    sensed = made.perceive(gels(2))
    for part, change in (("tokens", True), ("private", True), ("shared", False)):
        moved = sensed._replace(**{part: getattr(sensed, part) + 1})
        assert torch.equal(made(moved), made(sensed)) == change, part
    closed = sensed._replace(shared=sensed.shared + torch.tensor([0.0, 0, 0, 0, 1, 1]))
    assert torch.equal(made(closed), made(sensed))


def test_ridge_regression_is_what_is_fitted() -> None:
    family = FAMILIES["llava"]
    model, inputs = family.model(), pictures(family, 30)
    shared = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    fitted = fit_recomposition(model, inputs, shared, torch.ones(4), ridge=0.5)
    seen: list[Tensor] = []
    handle = find_projector(model).register_forward_hook(lambda _, args, out: seen.append(args[0]))
    for one in inputs:
        with torch.no_grad():
            model.get_image_features(**one)
    handle.remove()
    x = torch.stack([value.mean((0, 1)) for value in seen]).double()
    z = shared.double() - shared.double().mean(0)
    penalty = 0.5 * z.square().sum(0).mean()
    slow = torch.linalg.lstsq(
        torch.cat([z, penalty.sqrt() * torch.eye(4)]), torch.cat([x - x.mean(0), torch.zeros(4, x.shape[1])])
    ).solution.T
    torch.testing.assert_close(fitted.map.double(), slow, atol=1e-5, rtol=1e-4)


def test_its_weights_load_into_an_empty_one() -> None:
    family = FAMILIES["llava"]
    model = family.model()
    shared = torch.randn(20, 4, generator=torch.Generator().manual_seed(2))
    fitted = fit_recomposition(model, pictures(family, 20), shared, torch.ones(4))
    again = Recomposition.empty(model, fitted.sizes())
    again.load_state_dict(fitted.state_dict())
    sensed = SensorFeatures(torch.zeros(2, 1, 8), shared[:2], torch.zeros(2, 0))
    assert torch.equal(again(sensed), fitted(sensed))


def test_too_few_pictures_and_unknown_projectors_are_refused() -> None:
    family = FAMILIES["llava"]
    with pytest.raises(DataError, match=r"3 pictures, 3 latents: give at least 16"):
        fit_recomposition(family.model(), pictures(family, 3), torch.randn(3, 4), torch.ones(4))
    with pytest.raises(ConfigError, match=r"has none of multi_modal_projector"):
        find_projector(torch.nn.Linear(2, 2))
