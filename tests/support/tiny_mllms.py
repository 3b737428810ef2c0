"""Tiny multimodal language models of real Hugging Face classes, one a family, and prompts with an image for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

VOCAB, IMAGE, START, END = 100, 90, 91, 92
TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}


@dataclass(frozen=True)
class Family:
    """A tiny model, the token ids of one image, and the inputs of n images."""

    build: Callable[[], nn.Module]
    image: list[int]
    images: Callable[[int], dict[str, Tensor]]
    kinds: str = "mm_token_type_ids"

    def model(self) -> Any:
        torch.manual_seed(0)
        return self.build().eval()

    def inputs(self, ids: Tensor, count: int) -> dict[str, Tensor]:
        """What goes with prompts that hold `count` images."""
        told = self.image[0] == START and (self.kinds == "token_type_ids" or _wants_kinds())
        kinds = {self.kinds: (ids == IMAGE).int()} if told else {}
        return {**self.images(count), **kinds} if count else {}


def _wants_kinds() -> bool:
    """Whether this transformers tells images from text by type ids."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    return "mm_token_type_ids" in inspect.signature(Qwen2_5_VLModel.get_rope_index).parameters


def _pixels(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def _llava() -> nn.Module:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(**VISION, image_size=16, patch_size=8)
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=LlamaConfig(**TEXT), image_token_index=IMAGE)
    )


def _llava_next() -> nn.Module:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    vision = CLIPVisionConfig(**VISION, image_size=16, patch_size=8)
    text = LlamaConfig(**TEXT)
    return LlavaNextForConditionalGeneration(
        LlavaNextConfig(
            vision_config=vision, text_config=text, image_token_index=IMAGE, image_grid_pinpoints=[[16, 16]]
        )
    )


def _llava_onevision() -> nn.Module:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    vision = SiglipVisionConfig(**VISION, image_size=16, patch_size=8)
    return LlavaOnevisionForConditionalGeneration(
        LlavaOnevisionConfig(
            vision_config=vision,
            text_config=Qwen2Config(**TEXT),
            image_token_index=IMAGE,
            video_token_index=93,
            image_grid_pinpoints=[[16, 16]],
        )
    )


def _qwen25() -> nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 4, "spatial_merge_size": 2, "window_size": 16, "fullatt_block_indexes": [1]}
    tokens = {"image_token_id": IMAGE, "video_token_id": 93, "vision_start_token_id": START, "vision_end_token_id": END}
    text = {**TEXT, "rope_parameters": MROPE, "rope_scaling": MROPE}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=vision, text_config=text, **tokens))


def _qwen3() -> nn.Module:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 4, "spatial_merge_size": 2, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    tokens = {"image_token_id": IMAGE, "video_token_id": 93, "vision_start_token_id": START, "vision_end_token_id": END}
    rope = {**MROPE, "mrope_interleaved": True}
    text = {**TEXT, "head_dim": 8, "rope_parameters": rope, "rope_scaling": rope}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(vision_config=vision, text_config=text, **tokens))


def _internvl() -> nn.Module:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config

    vision = InternVLVisionConfig(**VISION, image_size=[16, 16], patch_size=[4, 4])
    return InternVLForConditionalGeneration(
        InternVLConfig(vision_config=vision, text_config=Qwen2Config(**TEXT), image_token_id=IMAGE)
    )


def _smolvlm() -> nn.Module:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    vision = {**VISION, "image_size": 16, "patch_size": 4}
    config = SmolVLMConfig(
        vision_config=vision, text_config=LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    )
    return SmolVLMForConditionalGeneration(config)


def _idefics3() -> nn.Module:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig

    vision = {**VISION, "image_size": 16, "patch_size": 4}
    config = Idefics3Config(
        vision_config=vision, text_config=LlamaConfig(**TEXT), image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    )
    return Idefics3ForConditionalGeneration(config)


def _gemma3() -> nn.Module:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, SiglipVisionConfig

    vision = SiglipVisionConfig(**VISION, image_size=16, patch_size=4)
    attention = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
    text = {**TEXT, "head_dim": 8, "query_pre_attn_scalar": 8, **attention}
    tokens = {"image_token_index": IMAGE, "boi_token_index": START, "eoi_token_index": END, "mm_tokens_per_image": 4}
    return Gemma3ForConditionalGeneration(Gemma3Config(vision_config=vision.to_dict(), text_config=text, **tokens))


def _llava_next_video() -> nn.Module:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextVideoConfig,
        LlavaNextVideoForConditionalGeneration,
    )

    vision = CLIPVisionConfig(**VISION, image_size=16, patch_size=8)
    return LlavaNextVideoForConditionalGeneration(
        LlavaNextVideoConfig(
            vision_config=vision,
            text_config=LlamaConfig(**TEXT),
            image_token_index=IMAGE,
            video_token_index=93,
            image_grid_pinpoints=[[16, 16]],
        )
    )


def _minicpmv() -> nn.Module:
    from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

    vision = {**VISION, "image_size": 16, "patch_size": 4}
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "head_dim": 8}
    heads |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    text = {"model_type": "qwen3_5_text", **TEXT, **heads, "layer_types": ["linear_attention", "full_attention"]}
    tokens = {"image_token_id": IMAGE, "video_token_id": 93}
    return MiniCPMV4_6ForConditionalGeneration(
        MiniCPMV4_6Config(vision_config=vision, text_config=text, insert_layer_id=0, image_size=16, **tokens)
    )


def paligemma() -> Any:
    """A tiny PaliGemma, whose tokens of a prompt read each other in both directions."""
    from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipVisionConfig

    torch.manual_seed(0)
    vision = SiglipVisionConfig(**VISION, image_size=16, patch_size=8, projection_dim=32)
    text = GemmaConfig(**TEXT, head_dim=8)
    config = PaliGemmaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, projection_dim=32)
    return PaliGemmaForConditionalGeneration(config).eval()


def _tiles(n: int) -> dict[str, Tensor]:
    return {"pixel_values": _pixels(n, 2, 3, 16, 16), "image_sizes": torch.tensor([[16, 16]] * n)}


def _patches(temporal: int) -> Callable[[int], dict[str, Tensor]]:
    width = 3 * temporal * 4 * 4
    return lambda n: {"pixel_values": _pixels(n * 16, width), "image_grid_thw": torch.tensor([[1, 4, 4]] * n)}


def _packed(n: int) -> dict[str, Tensor]:
    sizes = torch.tensor([[4, 4]] * n, dtype=torch.int32)  # patches, of which the towers make one token
    return {"pixel_values": _pixels(1, 3, 4, n * 4 * 4 * 4), "target_sizes": sizes}


FAMILIES = {
    "llava": Family(_llava, [IMAGE] * 4, lambda n: {"pixel_values": _pixels(n, 3, 16, 16)}),
    "llava_next": Family(_llava_next, [IMAGE] * 10, _tiles),
    "llava_onevision": Family(_llava_onevision, [IMAGE] * 10, _tiles),
    "qwen2_5_vl": Family(_qwen25, [START, *[IMAGE] * 4, END], _patches(2)),
    "qwen3_vl": Family(_qwen3, [START, *[IMAGE] * 4, END], _patches(2)),
    "internvl": Family(_internvl, [IMAGE] * 4, lambda n: {"pixel_values": _pixels(n, 3, 16, 16)}),
    "smolvlm": Family(_smolvlm, [IMAGE] * 4, lambda n: {"pixel_values": _pixels(1, n, 3, 16, 16)}),
    "idefics3": Family(_idefics3, [IMAGE] * 4, lambda n: {"pixel_values": _pixels(1, n, 3, 16, 16)}),
}

MORE = {
    "gemma3": Family(
        _gemma3,
        [START, *[IMAGE] * 4, END],
        lambda n: {"pixel_values": _pixels(n, 3, 16, 16)},
        kinds="token_type_ids",
    ),
    "llava_next_video": Family(_llava_next_video, [IMAGE] * 10, _tiles),
    "minicpmv": Family(_minicpmv, [IMAGE], _packed),
}
"""Families that are tried in fewer tests."""
