"""One contract over every family: what a sensor's vectors do to a prompt, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sensing import CLOUD, SILENT, TOUCH, batch, clouds, gels, logits, make_sensor, sensing
from tiny_mllms import FAMILIES, VOCAB, Family
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError, RegistryError
from pairalign.sensors.model import SensorModel


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_without_a_sensor_the_logits_are_the_bases_bit_for_bit(family: Family) -> None:
    ids, mask = batch([[1, 5, *family.image, 6, 7], [1, 8, *family.image, 9]])
    inputs = family.inputs(ids, 2)
    expected = logits(family.model(), ids, mask, **inputs)
    assert torch.equal(logits(sensing(family), ids, mask, **inputs), expected)


def by_hand(family: Family, ids: Tensor, vectors: Tensor) -> tuple[Any, Tensor]:
    """The base with the vectors written into its embedding table, at ids that nothing else uses."""
    base, ids = family.model(), ids.clone()
    table = base.get_input_embeddings().weight
    places = (ids == TOUCH) | (ids == CLOUD)
    with torch.no_grad():
        for n, (row, column) in enumerate(torch.nonzero(places).tolist()):
            ids[row, column] = 40 + n
            table[40 + n] = vectors[n]
    return base, ids


def close_but_for_the_table(found: Tensor, expected: Tensor) -> None:
    """Where output and input embeddings are tied, the entries written `by_hand` change the logits of their tokens."""
    kept = [token for token in range(VOCAB) if not 40 <= token < 60]
    torch.testing.assert_close(found[..., kept], expected[..., kept], atol=1e-6, rtol=1e-6)


def test_vectors_stand_where_the_placeholders_are(family: Family) -> None:
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5, *family.image, 6, 7], [1, *family.image, 9, *[TOUCH] * 4, 3]])
    vectors = model.sensors["touch"](gels(2)).flatten(0, 1).detach()
    base, known = by_hand(family, ids, vectors)
    expected = logits(base, known, mask, **family.inputs(ids, 2))
    found = logits(model, ids, mask, signals={"touch": gels(2)}, **family.inputs(ids, 2))
    close_but_for_the_table(found, expected)


@pytest.mark.parametrize("order", ["touch cloud image", "image cloud touch", "cloud image touch", "touch image touch"])
def test_sensors_and_images_in_any_order(family: Family, order: str) -> None:
    model, given = sensing(family, "touch", "cloud"), order.split()
    parts = {"touch": [TOUCH] * 4, "cloud": [CLOUD] * 4, "image": family.image}
    row = [1, *(token for part in given for token in [*parts[part], 5]), 6]
    ids, mask = batch([row, row])
    counts = {name: 2 * given.count(name) for name in ("touch", "cloud")}
    signals = {name: {"touch": gels, "cloud": clouds}[name](n) for name, n in counts.items() if n}
    made = {name: model.sensors[name](value).detach().flatten(0, 1) for name, value in signals.items()}
    taken = dict.fromkeys(made, 0)
    in_order = []
    for token in ids.flatten().tolist():
        if token in (TOUCH, CLOUD):
            name = "touch" if token == TOUCH else "cloud"
            in_order.append(made[name][taken[name]])
            taken[name] += 1
    base, known = by_hand(family, ids, torch.stack(in_order))
    expected = logits(base, known, mask, **family.inputs(ids, 2))
    found = logits(model, ids, mask, signals=signals, **family.inputs(ids, 2))
    close_but_for_the_table(found, expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(family: Family, side: str) -> None:
    model = sensing(family)
    rows = [[1, *[TOUCH] * 4, 5], [1, 8, *family.image, 9, *[TOUCH] * 4, 4, 3], [1, 6, 7, *[TOUCH] * 4, 9]]
    ids, mask = batch(rows, side)
    found = logits(model, ids, mask, signals={"touch": gels(3)}, **family.inputs(ids, 1))
    for n, row in enumerate(rows):
        alone, whole = batch([row])
        one = logits(model, alone, whole, signals={"touch": gels(3)[n : n + 1]}, **family.inputs(alone, int(n == 1)))
        last = len(row) - 1 if side == "right" else -1
        torch.testing.assert_close(found[n, last], one[0, -1], atol=2e-5, rtol=1e-5)


def test_generate_with_a_cache_says_what_it_says_without(family: Family) -> None:
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5, *family.image, 6], [1, 7, *family.image, 8, *[TOUCH] * 4]], "left")
    options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "suppress_tokens": SILENT}
    inputs = family.inputs(ids, 2)
    said = model.generate(ids, {"touch": gels(2)}, **options, **inputs)
    assert torch.equal(said[:, : ids.shape[1]], ids)
    expected, seen = ids, mask
    for _ in range(6):
        kinds = family.inputs(expected, 2)
        last = logits(model, expected, seen, signals={"touch": gels(2)}, **kinds)[:, -1]
        new = last.index_fill(1, torch.tensor(SILENT), -torch.inf).argmax(-1, keepdim=True)
        expected, seen = torch.cat([expected, new], 1), torch.cat([seen, torch.ones_like(new)], 1)
    assert torch.equal(said, expected)


def test_beams_penalties_and_several_answers(family: Family) -> None:
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5, 6], [1, 7, 9, *[TOUCH] * 4, 8, 8]], "left")
    said = model.generate(
        ids,
        {"touch": gels(2)},
        attention_mask=mask,
        num_beams=3,
        num_return_sequences=2,
        max_new_tokens=4,
        repetition_penalty=1.2,
    )
    assert len(said) == 4
    alone = model.generate(
        ids[1:], {"touch": gels(2)[1:]}, attention_mask=mask[1:], num_beams=3, max_new_tokens=4, repetition_penalty=1.2
    )
    assert torch.equal(said[2, : alone.shape[1]], alone[0])


def test_blank_shuffled_or_other_signals_change_the_answer(family: Family) -> None:
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5], [1, *[TOUCH] * 4, 5]])
    values = {"real": gels(2), "blank": torch.zeros_like(gels(2)), "shuffled": gels(2).flip(0), "other": gels(2, 9)}
    found = {k: logits(model, ids, mask, signals={"touch": v})[:, -1].softmax(-1) for k, v in values.items()}
    for name in ("blank", "shuffled", "other"):
        assert (found[name] - found["real"]).abs().sum(1).min() > 1e-5, name


def test_the_gradient_reaches_the_bridge_and_nothing_of_the_sensor(family: Family) -> None:
    model = sensing(family).train()
    model.llm.requires_grad_(False)
    ids, mask = batch([[1, *[TOUCH] * 4, 5]])
    model(ids, {"touch": gels(1)}, attention_mask=mask).logits.square().mean().backward()
    touch = model.sensors["touch"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in touch.bridge.parameters())
    assert all(p.grad is None for p in (*touch.encoder.parameters(), *touch.head.parameters()))


def test_counts_must_agree() -> None:
    model = sensing(FAMILIES["llava"])
    ids, mask = batch([[1, *[TOUCH] * 4, 5]])
    with pytest.raises(DataError, match=r"placeholders for 1 signals .4 tokens of 4 each., and 2 were given"):
        model(ids, {"touch": gels(2)}, attention_mask=mask)
    with pytest.raises(DataError, match=r"for 1 signals .* and 0 were given"):
        model(ids, attention_mask=mask)
    with pytest.raises(ConfigError, match=r"'tuch' is not installed. Did you mean 'touch'"):
        model(ids, {"tuch": gels(1)}, attention_mask=mask)
    with pytest.raises(DataError, match=r"at least one token of text"):
        model(ids[:, 1:5], {"touch": gels(1)}, attention_mask=mask[:, 1:5])


def test_what_cannot_be_added_is_refused() -> None:
    from recompose_models import tiny_llama

    with pytest.raises(ConfigError, match=r"text-only model"):
        SensorModel(tiny_llama())
    model = sensing(FAMILIES["llava"])
    with pytest.raises(ConfigError, match=r"'touch' is there already"):
        model.add("touch", make_sensor(model.llm), 5)
    with pytest.raises(ConfigError, match=r"placeholder=90 .* is taken"):
        model.add("more", make_sensor(model.llm), 90)
    model.remove("touch")
    assert not model.placeholders
    assert not list(model.sensors.parameters())


def test_a_cache_of_an_older_turn_is_refused() -> None:
    family = FAMILIES["llava"]
    model = sensing(family)
    ids, mask = batch([[1, *[TOUCH] * 4, 5]])
    past = model(ids, {"touch": gels(1)}, attention_mask=mask, use_cache=True).past_key_values
    for name in ("past_key_values", "cache"):  # its name before and since
        with pytest.raises(DataError, match=rf"{name}: signals are read with a new prompt"):
            model(ids, {"touch": gels(1)}, attention_mask=mask, **{name: past})
    with pytest.raises(ConfigError, match=r"prefill_chunk_size"):
        model.generate(ids, {"touch": gels(1)}, attention_mask=mask, prefill_chunk_size=2)


@pytest.mark.parametrize(("kind", "tokens", "length"), [("linear", 3, 5), ("mlp", 0, 2), ("resampler", 6, 6)])
def test_bridges(kind: str, tokens: int, length: int) -> None:
    base = FAMILIES["llava"].model()
    made = make_sensor(base, kind=kind, tokens=tokens)
    vectors = made(gels(3))
    assert vectors.shape == (3, length, 32)
    assert made.length == length
    size = base.get_input_embeddings().weight.square().mean().sqrt()
    torch.testing.assert_close(vectors.square().mean(-1).sqrt(), size.expand(3, length), rtol=1e-3, atol=0)
    sensed = made.perceive(gels(3))
    torch.testing.assert_close(made(sensed.at(torch.tensor([2, 0]))), vectors[[2, 0]])
    for part in ("shared", "private") if tokens == 0 else ("shared", "private", "tokens"):
        other = sensed._replace(**{part: getattr(sensed, part) + torch.randn_like(getattr(sensed, part))})
        assert not torch.allclose(made(other), vectors), part


def test_a_bridge_that_cannot_be_is_refused() -> None:
    base = FAMILIES["llava"].model()
    with pytest.raises(RegistryError, match=r"bridge 'mpl' is unknown. Did you mean 'mlp'"):
        make_sensor(base, kind="mpl")
    with pytest.raises(ConfigError, match=r"tokens=0: a resampler bridge needs at least 1"):
        make_sensor(base, kind="resampler", tokens=0)
