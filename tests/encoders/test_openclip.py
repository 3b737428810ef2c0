"""open_clip towers: the same weights by configuration, file and model; tokens, templates and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder
from pairalign_openclip.towers import TINY


@pytest.mark.parametrize("config", ["tiny", "tiny-vit"])
def test_pooled_is_what_open_clip_itself_gives(config: str) -> None:
    torch.manual_seed(0)
    image = create_encoder("openclip_image", config=config).eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8))
    own = image_transform_v2(PreprocessCfg(size=image.signal.shape[-1]), is_train=False)(picture)[None]
    batch = image.compact(picture)[None]
    assert batch.dtype == torch.uint8
    assert image.as_float(batch).equal(own)
    assert image.preprocess(picture).equal(own[0])
    with torch.no_grad():
        features = image(batch)
        expected = image.tower(own) if config == "tiny" else image.tower(own)[0]
    torch.testing.assert_close(features.pooled, expected)
    assert features.tokens.shape[2] == features.pooled.shape[1] == TINY[config]["embed_dim"]


def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = open_clip.create_model("ViT-S-32-alt", force_custom_text=True)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    for name, tower in (("openclip_image", model.visual), ("openclip_text", model.text)):
        encoder = create_encoder(name, model="ViT-S-32-alt", pretrained=str(tmp_path / "weights.pt"))
        loaded = encoder.tower.state_dict()
        assert all(loaded[key].equal(value) for key, value in tower.state_dict().items())
        assert encoder.restorable


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "ViT-B-33"}, "Did you mean 'ViT-B-32'"),
        ({"config": "tinny"}, "Did you mean 'tiny'"),
        ({}, "give exactly one of them"),
        ({"model": "ViT-B-32", "config": "tiny"}, "give exactly one of them"),
        ({"config": {"embed_dim": 8}}, "lacks text_cfg, vision_cfg"),
        ({"model": "ViT-B-32", "pretrained": "no/such.pt"}, "is no file"),
    ],
)
def test_wrong_models_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_encoder("openclip_image", **options)


def test_words_are_numbered_by_their_letters_and_end_with_the_mark() -> None:
    encoder = create_encoder("openclip_text", config="tiny")
    one, two = encoder.preprocess("A red mug."), encoder.preprocess("a RED mug")
    assert one.equal(two)
    used = one[one > 0]
    assert len(used) == 4
    assert used[-1] == encoder.vocabulary - 1
    assert int(one.argmax()) == 3  # where the tower pools
    assert not encoder.preprocess("a blue mug").equal(one)
    with pytest.raises(SignalError, match="not empty"):
        encoder.preprocess("  ")


def test_a_training_view_fills_a_template_and_evaluation_does_not() -> None:
    encoder = create_encoder("openclip_text", config="tiny", templates=["a photo of a {}", "one {} there"])
    views = {tuple(encoder.view("mug", torch.Generator().manual_seed(s)).tolist()) for s in range(20)}
    assert views == {tuple(encoder.preprocess(text).tolist()) for text in ("a photo of a mug", "one mug there")}
    assert encoder.preprocess("mug").count_nonzero() == 2
    with pytest.raises(ConfigError, match="exactly once"):
        create_encoder("openclip_text", config="tiny", templates=["a photo"])


def test_the_last_blocks_train_alone() -> None:
    encoder = create_encoder("openclip_image", config="tiny-vit")
    encoder.tune(1)
    names = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert names
    assert all("resblocks.2" in name for name in names)
