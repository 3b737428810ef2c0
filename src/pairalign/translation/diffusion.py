"""A pipeline of diffusers that draws pictures from CLIP image embeddings, behind `draw`: unCLIP and its relatives.

Stable unCLIP (`StableUnCLIPImg2ImgPipeline`) takes `image_embeds`, Karlo (`UnCLIPImageVariationPipeline`)
`image_embeddings`.

Note:
    The pipeline must have been trained on the very tower that the run holds frozen; its width is compared, its weights
    cannot be.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError

NAMES = ("image_embeds", "image_embeddings")
STEPS = ("num_inference_steps", "decoder_num_inference_steps")


class DiffusersDrawer:
    """Draws by a pipeline that takes image embeddings.

    pipeline: a loaded one. steps: of denoising, the pipeline's own number if `None`. seed: of its noise.
    """

    def __init__(self, pipeline: Any, *, steps: int | None = None, seed: int = 0) -> None:
        known = inspect.signature(pipeline.__call__).parameters
        name = type(pipeline).__name__
        self.argument = next((one for one in NAMES if one in known), "")
        if not self.argument:
            raise ConfigError(f"pipeline {name} takes neither {' nor '.join(NAMES)}: give one that draws from them.")
        needed = [
            key
            for key, one in known.items()
            if one.default is one.empty
            and key != self.argument
            and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ]
        if needed:
            raise ConfigError(
                f"pipeline {name} needs {', '.join(needed)} too: write a class with draw(embedding) around it, and "
                "give that as `through`."
            )
        self.pipeline, self.known, self.steps, self.seed = pipeline, known, steps, seed

    @property
    def width(self) -> int | None:
        """Of the embeddings that the pipeline was trained on, as far as it says so."""
        config = getattr(getattr(self.pipeline, "image_encoder", None), "config", None)
        return getattr(config, "projection_dim", None)

    def draw(self, embedding: Tensor) -> Sequence[Any]:
        """PIL pictures of embeddings (B, D)."""
        if self.width not in (None, embedding.shape[1]):
            raise ConfigError(
                f"the pipeline draws from embeddings of width {self.width}, the run's tower gives "
                f"{embedding.shape[1]}: align the tower that the pipeline was trained on."
            )
        unet = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "decoder", None)
        dtype = getattr(unet, "dtype", embedding.dtype)
        given: dict[str, Any] = {self.argument: embedding.to(dtype)}
        if "prompt" in self.known:
            given["prompt"] = [""] * len(embedding)
        if "generator" in self.known:
            given["generator"] = torch.Generator("cpu").manual_seed(self.seed)
        given |= {one: self.steps for one in STEPS if self.steps is not None and one in self.known}
        return list(self.pipeline(**given).images)


def load_drawer(name: str, device: torch.device, *, steps: int | None = None, seed: int = 0) -> DiffusersDrawer:
    """A pipeline by hub name or folder, safetensors only; raise `ConfigError` where it, or diffusers, is not there."""
    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ConfigError("--through diffusers needs diffusers: pip install 'pairalign[draw]'.") from error
    try:
        pipeline = DiffusionPipeline.from_pretrained(name, use_safetensors=True)
    except Exception as error:  # the hub, a file and a configuration fail in many ways
        raise ConfigError(f"--pipeline {name!r} cannot be loaded ({error}): check the name, or the folder.") from error
    return DiffusersDrawer(pipeline.to(device), steps=steps, seed=seed)
