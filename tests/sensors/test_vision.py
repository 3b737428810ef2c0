"""What a base says of a picture is kept by what the picture is, for every family; others are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sensing import TOUCH, batch, gels, sensing
from tiny_mllms import FAMILIES, MORE, Family, paligemma
from torch import Tensor

import pairalign as pa
from pairalign.core.errors import ConfigError
from pairalign.dormant.model import get_dormant_model
from pairalign.sensors import vision
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes
from pairalign.sensors.vision import ASK, VisionMemory, check_still, key_of, reader_of

ALL = {name: one for name, one in {**FAMILIES, **MORE}.items() if name != "minicpmv"}  # refused by name, see below
TOLD = 1e-4
ROWS = ("pixel_values", "image_sizes")


def prompts(family: Family, *pictures: int) -> dict[str, Any]:
    """A prompt with a touch behind each of these pictures, of three."""
    ids, mask = batch([[1, *family.image, 5, 6, 7, 8, 9, *[TOUCH] * 4, 7, 8] for _ in pictures], "left")
    given, shown = family.inputs(ids, 3), torch.tensor(pictures)
    if "image_grid_thw" in given:
        given["pixel_values"] = given["pixel_values"].view(3, 16, -1)[shown].flatten(0, 1)
        given["image_grid_thw"] = given["image_grid_thw"][shown]
    elif given["pixel_values"].shape[0] == 1:  # of one prompt
        given["pixel_values"] = given["pixel_values"].transpose(0, 1)
    given |= {name: given[name][shown] for name in ROWS if name in given and len(given[name]) == 3}
    return {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(len(pictures))}, **given}


def sighted(family: Family) -> SensorModel:
    """A model whose projector says something of a picture; that of a new Gemma 3 is all zeros."""
    model = sensing(family)
    for name, parameter in model.llm.named_parameters():
        if "projector" in name and not bool(parameter.count_nonzero()):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that a base is asked of a picture."""
    found: list[int] = []
    plain = vision.VisionMemory._of

    def counted(self: VisionMemory, ask: Any, call: Any) -> Any:
        def told(**call: Any) -> Any:
            found.append(1)
            return ask(**call)

        return plain(self, told, call)

    monkeypatch.setattr(vision.VisionMemory, "_of", counted)
    return found


@torch.no_grad()
def logits(model: SensorModel, inputs: dict[str, Any]) -> Tensor:
    found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("name", ALL)
def test_each_picture_is_read_once_and_is_its_own(name: str, asked: list[int]) -> None:
    family = ALL[name]
    model, memory = sighted(family), VisionMemory(1.0)
    for pictures, new in (((0, 1), 2), ((1, 0), 0), ((2, 1), 1), ((0, 0), 0)):
        inputs, before = prompts(family, *pictures), len(asked)
        with memory.reading(model.llm):
            found = logits(model, inputs)
        plain = logits(model, inputs)
        assert torch.allclose(found, plain, atol=TOLD / 10), pictures
        assert len(asked) - before == new
    turned = logits(model, prompts(family, 1, 2))
    assert not torch.allclose(found, turned, atol=TOLD), (found - turned).abs().max()  # the logits tell a wrong picture
    assert len(memory.kept) == 3
    ask = getattr(reader_of(model.llm), ASK)
    alone = {name: value for name, value in prompts(family, 2).items() if name in vision.PARTED}
    with torch.no_grad():
        said, kept = ask(**alone), list(memory.kept.values())[2]
    (one,), (other,) = said.pooler_output, kept.pooled
    assert torch.equal(one, other)
    for layer, own in zip(getattr(said, vision.DEEP, None) or (), kept.deep or (), strict=True):
        assert torch.equal(layer[0], own[0])


@pytest.mark.parametrize("name", ["llava", "qwen3_vl", "gemma3"])
def test_it_goes_with_what_stands_before_the_signal(name: str, asked: list[int]) -> None:
    family = ALL[name]
    model, memory, prefixes = sighted(family), VisionMemory(1.0), Prefixes(1.0)
    inputs = prompts(family, 0, 1)
    plain = logits(model, inputs)[:, -3:]
    with memory.reading(model.llm), torch.no_grad():
        found = [prefixes.logits(model, inputs, 3, keys) for keys in (("a", "b"), ("a", "b"), None)]
    for one in found:
        assert (one is None) == (name == "gemma3")  # which keeps windows of keys, and is read whole
        assert one is None or torch.allclose(one, plain, atol=1e-4)
    assert len(asked) == 2


def test_a_batch_without_pictures_and_a_prompt_without_one(asked: list[int]) -> None:
    family = ALL["smolvlm"]
    model, memory = sensing(family), VisionMemory(1.0)
    inputs = prompts(family, 0, 1)
    words = inputs["input_ids"][1]
    inputs["input_ids"][1] = torch.where(words == family.image[0], 5, words)
    inputs["pixel_values"][1] = 0
    with memory.reading(model.llm):
        found = logits(model, inputs)
        assert torch.allclose(found, logits(model, inputs), atol=1e-5)
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logits(model, {name: value[1:] for name, value in text.items()} | {"signals": {"touch": gels(1)}})
    assert torch.allclose(found, logits(model, inputs), atol=1e-5)
    assert len(asked) == len(memory.kept) == 1


def test_several_pictures_of_one_prompt_are_cut_otherwise() -> None:
    """LLaVA-OneVision reads a prompt's only picture in tiles, and one of several whole."""
    model, given = ALL["llava_onevision"].model(), ALL["llava_onevision"].images(3)
    given["batch_num_images"] = torch.tensor([2, 0, 1])
    reader, memory = reader_of(model), VisionMemory(1.0)
    with torch.no_grad():
        plain = getattr(reader, ASK)(**given).pooler_output
        with memory.reading(model):
            found = getattr(reader, ASK)(**given).pooler_output
    assert [len(one) for one in found] == [len(one) for one in plain]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, plain, strict=True))
    assert len(memory.kept) == 2


def test_a_key_is_of_all_that_is_asked() -> None:
    pixels = torch.randn(1, 2, 3, 4, 4)
    filled = torch.cat([pixels, torch.zeros(1, 1, 3, 4, 4)], 1)
    told = {"pixel_values": pixels, "image_sizes": torch.tensor([[4, 8]])}
    assert key_of(told) == key_of({**told, "pixel_values": filled})
    with torch.autocast("cpu", torch.bfloat16):
        mixed = key_of(told)
    others = [
        {**told, "pixel_values": pixels + 1e-6},
        {**told, "pixel_values": pixels.flip(1)},
        {**told, "pixel_values": pixels.double()},
        {**told, "image_sizes": torch.tensor([[8, 4]])},
        {**told, "vision_feature_layer": -1},
    ]
    assert len({key_of(told), mixed, *map(key_of, others)}) == 7


def test_what_has_no_room_is_read_anew_and_right(asked: list[int]) -> None:
    model, inputs = sensing(ALL["llava"]), prompts(ALL["llava"], 0, 1)
    memory = VisionMemory(0.0)
    with memory.reading(model.llm):
        assert torch.allclose(logits(model, inputs), logits(model, inputs), atol=1e-6)
    assert len(asked) == 4
    assert not memory.kept
    assert ASK not in vars(reader_of(model.llm))


def test_a_base_that_is_not_known_and_a_tower_that_trains_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'paligemma' is not known to read each picture by itself.*vision_memory=0"):
        check_still(paligemma())
    if "minicpmv" in FAMILIES:  # whose pictures are packed side by side
        with pytest.raises(ConfigError, match=r"'minicpmv4_6' is not known to read each picture by itself"):
            check_still(FAMILIES["minicpmv"].model())
    model: Any = ALL["llava"].model().requires_grad_(False)
    check_still(model, ["model.language_model.layers.0.mlp.up_proj"])
    layer = "model.vision_tower.encoder.layers.0.mlp.fc1"
    with pytest.raises(ConfigError, match=f"train.vision_memory: {layer}.weight trains.*target_modules"):
        check_still(model, [layer])
    targets = pa.DormantConfig(score="random", structure="rows", density=0.3, target_modules=r".*vision_tower.*fc1")
    with pytest.raises(ConfigError, match=r"fc1.* trains"):
        check_still(get_dormant_model(model, targets))
