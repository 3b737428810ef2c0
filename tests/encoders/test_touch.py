"""Gel images: background subtraction, frames and sensor types, by hand; both networks read them alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder
from pairalign_touch.gel import jitter_gel, sensor_codes
from pairalign_touch.sensor import SensorToken

CNN = {"size": 16, "width": 12, "channels": 4}
VIT = {"preset": "mini", "size": 32, "patch": 16}


def frame(level: int, size: int = 16) -> Image.Image:
    return Image.fromarray(np.full((size, size, 3), level, np.uint8))


def test_the_background_is_subtracted_around_mid_grey() -> None:
    encoder = create_encoder("touch_cnn", **CNN, background="subtract")
    value = encoder.preprocess({"value": frame(180), "background": frame(80)})
    torch.testing.assert_close(value[0, :3], torch.full((3, 16, 16), (180 - 80) / 255 / 2 + 0.5))
    same = encoder.preprocess({"value": frame(80), "background": frame(80)})
    torch.testing.assert_close(same[0, :3], torch.full((3, 16, 16), 0.5))
    with pytest.raises(SignalError, match="pack one as the part"):
        encoder.preprocess(frame(10))


def test_the_last_frames_are_taken_and_a_short_contact_repeats_its_last() -> None:
    encoder = create_encoder("touch_cnn", **CNN, frames=3)
    long = encoder.compact({"frames": [frame(level) for level in (0, 51, 102, 153)]})
    assert long[:, 0, 0, 0].tolist() == [51, 102, 153]
    short = encoder.compact([frame(51)])
    assert encoder.preprocess([frame(51)]).equal(short / 255)
    assert short[:, 0, 0, 0].tolist() == [51, 51, 51]


def test_sensor_types_travel_with_the_sample_and_unseen_ones_are_unknown() -> None:
    encoder = create_encoder("touch_cnn", **CNN, sensors=["gelsight", "digit"])
    raws = [{"value": frame(9), "sensor": name} for name in ("digit", "gelsight", "gelslim", "")]
    batch = encoder.collate([encoder.compact(raw) for raw in raws])
    assert sensor_codes(batch).tolist() == [2, 1, 0, 0]
    assert sensor_codes(encoder.collate([encoder.preprocess(raw) for raw in raws])).tolist() == [2, 1, 0, 0]
    encoder.eval()
    with torch.no_grad():
        pooled = encoder(batch).pooled
    assert not torch.allclose(pooled[0], pooled[1])  # the token is read
    torch.testing.assert_close(pooled[2], pooled[3])


def test_the_fallback_trains_because_types_are_hidden() -> None:
    torch.manual_seed(0)
    token = SensorToken(2, 4, hide=0.5).train()
    token(torch.tensor([1, 2] * 50)).sum().backward()
    assert token.table.weight.grad is not None
    assert bool((token.table.weight.grad.abs().sum(1) > 0).all())
    still = token.eval()(torch.tensor([1, 1]))
    assert still[0].equal(still[1])


@pytest.mark.parametrize(("name", "options"), [("touch_cnn", CNN), ("touch_vit", VIT)])
def test_frames_are_pooled_in_no_order(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    encoder = create_encoder(name, **options, frames=2).eval()
    rng = np.random.default_rng(0)
    size = options["size"]
    frames = [Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(2)]
    with torch.no_grad():
        one, two = (encoder(encoder.preprocess(order)[None]) for order in (frames, frames[::-1]))
    torch.testing.assert_close(one.pooled, two.pooled)
    assert one.tokens.shape[1] == two.tokens.shape[1] == 2 * (4 if name == "touch_vit" else (size // 8) ** 2)


def test_cells_keep_where_the_contact_is() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("touch_cnn", size=32, width=12, channels=4, cells=4).eval()
    with torch.no_grad():
        encoder.join.weight[:, :24] = 0  # only the grid of means speaks, not mean and maximum
    left, right = np.full((32, 32, 3), 128, np.uint8), np.full((32, 32, 3), 128, np.uint8)
    left[12:20, 4:12] = right[12:20, 20:28] = 220
    with torch.no_grad():
        a, b, again = (encoder(encoder.preprocess(Image.fromarray(x))[None]).pooled for x in (left, right, left))
    assert a.equal(again)
    assert (a - b).abs().max() > 1e-4


def test_a_view_changes_colours_but_not_the_type() -> None:
    encoder = create_encoder("touch_cnn", **CNN, sensors=["digit"])
    rng = np.random.default_rng(0)
    value = encoder.compact({"value": Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)), "sensor": "digit"})
    view = encoder.augment(value, torch.Generator().manual_seed(1))
    assert not view[:, :3].equal(value[:, :3])
    assert view[:, 3].equal(value[:, 3])
    assert view.dtype == value.dtype == torch.uint8


def test_views_of_bytes_and_of_differences_are_the_same_but_for_rounding() -> None:
    value = torch.randint(0, 256, (2, 4, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(5):
        one = jitter_gel(value, torch.Generator().manual_seed(seed), light=0.5)
        other = jitter_gel(value / 255, torch.Generator().manual_seed(seed), light=0.5)
        assert (one / 255 - other).abs().max() < 0.51 / 255


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("touch_cnn", {"background": "substract"}, "Did you mean 'subtract'"),
        ("touch_cnn", {"size": 4}, "at least 8"),
        ("touch_vit", {"preset": "tinny"}, "Did you mean 'tiny'"),
        ("touch_vit", {"size": 50, "patch": 16}, "no multiple of patch=16"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_encoder(name, **options)


def test_masking_leaves_patches_out_in_training_only() -> None:
    encoder = create_encoder("touch_vit", **{**VIT, "patch": 8}, masked=0.75)
    batch = torch.rand(2, 1, 4, 32, 32)
    torch.manual_seed(0)
    assert encoder.train()(batch).tokens.shape == (2, 4, 48)  # of 16 patches
    one, other = encoder(batch).pooled, encoder(batch).pooled
    assert not torch.equal(one, other)  # other patches each time
    with torch.no_grad():
        whole = encoder.eval()(batch)
    assert whole.tokens.shape == (2, 16, 48)
    assert torch.equal(whole.pooled, encoder(batch).pooled)
    plain = create_encoder("touch_vit", **{**VIT, "patch": 8})
    plain.load_state_dict(encoder.state_dict())  # nothing that is learned differs
    with pytest.raises(ConfigError, match=r"masked=1\.0"):
        create_encoder("touch_vit", **VIT, masked=1.0)


def test_a_tower_of_timm_is_its_file(tmp_path: Path) -> None:
    """Tokens are timm's own, with the colours that it was trained on."""
    torch.manual_seed(3)
    theirs = timm.create_model("test_vit", pretrained=False, img_size=32).eval()
    file = tmp_path / "tower.safetensors"
    save_file(theirs.state_dict(), file)
    encoder = create_encoder("touch_vit", tower="test_vit", weights=str(file), size=32).eval()
    assert encoder.restorable
    batch = encoder.collate([encoder.compact(frame(level, 32)) for level in (30, 200)])
    mean, std = (torch.tensor(theirs.pretrained_cfg[n])[:, None, None] for n in ("mean", "std"))
    with torch.no_grad():
        expected = theirs.forward_features((batch[:, 0, :3] / 255 - mean) / std)
        found = encoder(batch)
    torch.testing.assert_close(found.tokens, expected[:, 1:])
    torch.testing.assert_close(found.pooled, expected[:, 0])
    bare = type(encoder).bare({"tower": "test_vit", "weights": str(file), "size": 32})
    shipped = create_encoder("touch_vit", **bare).eval()
    assert not shipped.restorable
    shipped.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert shipped(batch).tokens.equal(found.tokens)


def test_a_tower_that_is_not_there_is_named(tmp_path: Path) -> None:
    short = {k: v for k, v in timm.create_model("test_vit", img_size=32).state_dict().items() if "blocks.1" not in k}
    save_file(short, tmp_path / "short.safetensors")
    for options, said in (
        ({"tower": "vit_tiny_patch16_225"}, "Did you mean 'vit_tiny_patch16_224'"),
        ({"weights": "none"}, "name it as tower"),
        ({"tower": "test_vit", "weights": "tower.pth"}, "give a .safetensors file"),
        ({"tower": "test_vit", "weights": str(tmp_path / "gone.safetensors")}, "cannot be read"),
        ({"tower": "test_vit", "weights": str(tmp_path / "short.safetensors")}, "does not fit"),
        ({"tower": "no_such", "weights": "none"}, "timm knows no such model"),
        ({"tower": "resnet18", "weights": "none"}, "tower='resnet18'"),
    ):
        with pytest.raises(ConfigError, match=said):
            create_encoder("touch_vit", size=32, **options)
