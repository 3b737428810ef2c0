"""The adapter of pipelines that draw from embeddings, on small classes with the signatures of diffusers' own."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from pairalign.core.errors import ConfigError
from pairalign.translation.diffusion import DiffusersDrawer, load_drawer
from pairalign.translation.ways import Drawer


class StableUnclip:
    """As `StableUnCLIPImg2ImgPipeline.__call__`."""

    def __init__(self, width: int | None = 4) -> None:
        self.image_encoder = SimpleNamespace(config=SimpleNamespace(projection_dim=width))
        self.unet = SimpleNamespace(dtype=torch.float16)
        self.given: dict[str, Any] = {}

    def __call__(
        self,
        image: Any = None,
        prompt: str | list[str] | None = None,
        num_inference_steps: int = 20,
        generator: torch.Generator | None = None,
        image_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
    ) -> Any:
        assert image_embeds is not None
        self.given = dict(prompt=prompt, steps=num_inference_steps, embeds=image_embeds, generator=generator)
        return SimpleNamespace(images=[Image.new("RGB", (2, 2)) for _ in prompt or [""]])

    def to(self, device: Any) -> StableUnclip:
        return self


class Karlo:
    """As `UnCLIPImageVariationPipeline.__call__`."""

    def __call__(self, image: Any = None, decoder_num_inference_steps: int = 25, image_embeddings: Any = None) -> Any:
        return SimpleNamespace(images=[(decoder_num_inference_steps, row.tolist()) for row in image_embeddings])


class Kandinsky:
    def __call__(self, image_embeds: Any, negative_image_embeds: Any, height: int = 512) -> Any:
        raise AssertionError


class TextToImage:
    def __call__(self, prompt: str) -> Any:
        raise AssertionError


def test_embeddings_go_to_the_pipeline_with_one_empty_prompt_each() -> None:
    pipeline = StableUnclip()
    drawer = DiffusersDrawer(pipeline, steps=3, seed=7)
    assert isinstance(drawer, Drawer)
    assert len(drawer.draw(torch.ones(5, 4))) == 5
    assert pipeline.given["prompt"] == [""] * 5
    assert pipeline.given["steps"] == 3
    assert pipeline.given["embeds"].dtype == torch.float16
    assert pipeline.given["generator"].initial_seed() == 7


def test_other_names_of_the_same_things_are_used() -> None:
    assert DiffusersDrawer(Karlo(), steps=2).draw(torch.ones(1, 2)) == [(2, [1.0, 1.0])]
    assert DiffusersDrawer(Karlo()).draw(torch.ones(1, 2))[0][0] == 25


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [(Kandinsky(), "Kandinsky needs negative_image_embeds too"), (TextToImage(), "takes neither image_embeds nor")],
)
def test_a_pipeline_that_takes_something_else_is_refused(pipeline: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusersDrawer(pipeline)


def test_a_pipeline_of_another_towers_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"embeddings of width 768, the run's tower gives 4"):
        DiffusersDrawer(StableUnclip(768)).draw(torch.ones(1, 4))


def test_loading_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'pairalign\[draw\]'"):
        load_drawer("some/pipeline", torch.device("cpu"))
    asked = []

    class DiffusionPipeline:
        @classmethod
        def from_pretrained(cls, name: str, **options: Any) -> StableUnclip:
            asked.append((name, options))
            if name == "nothing":
                raise OSError("no such repository")
            return StableUnclip()

    module = ModuleType("diffusers")
    module.DiffusionPipeline = DiffusionPipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diffusers", module)
    assert load_drawer("some/pipeline", torch.device("cpu")).width == 4
    assert asked == [("some/pipeline", {"use_safetensors": True})]
    with pytest.raises(ConfigError, match=r"--pipeline 'nothing' cannot be loaded \(no such repository\)"):
        load_drawer("nothing", torch.device("cpu"))
