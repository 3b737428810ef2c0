"""The small base model of the demo: a LLaVA of Hugging Face's own classes that reads pictures and words of the
built-in world, and nothing else.

`build_base` makes it with random weights; `python bench/demo_base.py` trains it and writes the folder that
the package ships.

Note:
    It knows some 150 words; what it answers to anything else means nothing.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from pairalign.data.world import FACTORS, World, vocabulary
from pairalign.demo.questions import ABOUT, DESCRIBE, ORDERED

IMAGE, PATCH = World().image_size, 8
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %} "
    "{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
OTHER = "user assistant : . , ? yes no first second equal it is feels to both do same object surface with a an and or"


def words() -> list[str]:
    """Every word of the base model's language."""
    asked = [*ABOUT.values(), DESCRIBE, "which is", "the", *ORDERED.values(), *FACTORS, "do both have the same", OTHER]
    values = [value for values in FACTORS.values() for value in values]
    found = re.findall(r"[a-z]+(?:-[a-z]+)*|[^\sa-z]", " ".join([*asked, *values, *vocabulary()]))
    return list(dict.fromkeys(found))


def build_tokenizer() -> Any:
    """A word-level tokenizer with the chat template."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL.values(), "<image>", *words()]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(names)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Split(pattern=_regex(r"[a-z]+(?:-[a-z]+)*|[^\sa-z]"), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, additional_special_tokens=["<image>"], chat_template=TEMPLATE
    )


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def build_processor() -> Any:
    """LLaVA's processor for 48-pixel pictures of 36 patches."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    size = {"height": IMAGE, "width": IMAGE}
    pictures = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
    return LlavaProcessor(
        pictures,
        build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )


def build_base(width: int = 128, layers: int = 4, vision_layers: int = 4) -> Any:
    """`LlavaForConditionalGeneration` with random weights from torch's generator."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = build_tokenizer()
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        **{f"{name}_token_id": value for name, value in ids.items()},
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=vision_layers,
        num_attention_heads=4,
        image_size=IMAGE,
        patch_size=PATCH,
        projection_dim=width,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    for name, value in ids.items():
        setattr(model.generation_config, f"{name}_token_id", value)
    return model


def base_folder() -> Path:
    """Where the trained base model lies."""
    return Path(str(files("pairalign.demo").joinpath("base")))
