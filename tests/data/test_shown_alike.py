"""Odd pictures through the real doors: stage one's checks, stage two's lessons, `ask`, drawings and contact sheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.align.check import check_edges
from pairalign.align.model import build_aligner
from pairalign.cli.ask import _read
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import DataError, SignalError
from pairalign.data.draw import as_array, picture_array
from pairalign.data.inspect import inspect_pairs
from pairalign.data.pack import pack_pairs
from pairalign.data.picture import rgb_picture
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Task

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
RAMP = np.mgrid[:24, :48][1] * 1300


def turned(folder: Path) -> Path:
    notes = Image.Exif()
    notes[0x0112] = 8
    Image.fromarray(PIXELS).save(folder / "photo.jpg", exif=notes)
    return folder / "photo.jpg"


def lesson(folder: Path, image: Any) -> Image.Image:
    row = {"image": image, "question": "what is it?", "answer": "a cup"}
    pack_pairs([row], folder / "s", overwrite=True, progress=False)
    task = Task("t", TaskConfig(shards="s", prompt="{image} {question}", answer="{answer}"), folder, [])
    shown: Image.Image = next(iter(task.read())).parts[0]["image"]
    return shown


def test_lessons_show_photos_upright_and_deep_pictures_in_grey(tmp_path: Path) -> None:
    assert lesson(tmp_path, turned(tmp_path)).size == (24, 48)
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "deep.png")
    shown = np.asarray(lesson(tmp_path, tmp_path / "deep.png"))
    np.testing.assert_allclose(shown[0, :, 0], RAMP[0] / 257, atol=1)
    clear = Image.fromarray(np.dstack([PIXELS, np.zeros((24, 48), np.uint8)]))
    assert (np.asarray(lesson(tmp_path, clear)) == 255).all()


def test_ask_reads_whatever_can_be_packed(tmp_path: Path) -> None:
    assert _read(str(turned(tmp_path))).size == (24, 48)
    np.savez(tmp_path / "a.npz", touch=np.arange(5.0), other=np.zeros(2))
    assert _read(f"{tmp_path / 'a.npz'}::touch").tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.heic is not read: save it as PNG"):
        _read(str(tmp_path / "a.heic"))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([RAMP.astype(np.uint16) // 40 + 500 + n for n in range(4)], "grey levels: set the encoder's option levels="),
        ([(RAMP / RAMP.max() - 0.5 + n / 9).astype(np.float32) for n in range(4)], "one cannot tell what is black"),
        ([(RAMP / RAMP.max() * 2 + n).astype(np.float32) for n in range(4)], "these are from neither"),
    ],
)
def test_stage_one_tells_of_unclear_pictures_before_it_trains(tmp_path: Path, images: list[Any], said: str) -> None:
    rows = [{"key": f"k{n}", "image": image, "text": f"thing {n}"} for n, image in enumerate(images)]
    pack_pairs(rows, tmp_path / "s", progress=False)

    def check(options: dict[str, Any]) -> list[str]:
        settings = {
            "modalities": {
                "image": {"encoder": "openclip_image", "options": {"config": "tiny-vit", **options}},
                "text": {"encoder": "openclip_text", "options": {"config": "tiny-vit"}},
            },
            "edges": [{"between": ["image", "text"], "shards": str(tmp_path / "s")}],
            "out": str(tmp_path / "run"),
            "train": {"steps": 2, "batch_size": 2, "accelerator": "cpu"},
        }
        config = load_config(AlignConfig, settings)
        return check_edges(config, build_aligner(config))

    try:
        told = "\n".join(check({}))
    except SignalError as error:
        told = str(error)
    assert "edge image-text, field 'image'" in told
    assert said in told
    assert not any("grey levels" in note for note in check({"levels": [-1, 3600]}) if images[0].dtype != np.uint16)


def test_drawings_show_colours_of_a_palette_and_what_is_transparent() -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    np.testing.assert_allclose(picture_array(as_array(palette)) * 255, np.asarray(palette.convert("RGB")), atol=1e-6)
    clear = Image.fromarray(np.dstack([PIXELS, np.zeros((24, 48), np.uint8)]))
    assert (picture_array(as_array(clear)) == 1).all()
    np.testing.assert_array_equal(picture_array(np.asarray(clear)), np.asarray(rgb_picture(clear)) / 255)
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    np.testing.assert_allclose(picture_array(as_array(cmyk)) * 255, np.asarray(cmyk.convert("RGB")), atol=1e-6)


def test_the_index_tells_of_a_palette_as_it_is_shown(tmp_path: Path) -> None:
    rows = [{"image": tmp_path / name, "text": name} for name in ("a.gif", "b.png")]
    Image.fromarray(PIXELS).save(tmp_path / "a.gif")
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    assert pack_pairs(rows, tmp_path / "s", progress=False).modalities["image"].shape == (24, 48, 3)


def test_a_contact_sheet_of_odd_pictures_is_drawn(tmp_path: Path) -> None:
    kinds = (
        Image.fromarray(RAMP.astype(np.uint16)),
        Image.fromarray(PIXELS).quantize(8),
        Image.fromarray((RAMP / 9).astype(np.float32)),
        Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])),
        RAMP > 3000,
        RAMP.astype(np.int16) - 100,
    )
    rows = [{"key": f"k{n}", "image": image, "text": f"thing {n}"} for n, image in enumerate(kinds)]
    pack_pairs(rows, tmp_path / "s", progress=False)
    found = inspect_pairs(tmp_path / "s", progress=False)
    assert found.seen["image"].kind == "image"
    assert found.sheet.stat().st_size > 1000
