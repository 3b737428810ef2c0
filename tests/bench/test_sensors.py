"""The two sensors of the real recordings: one file each, as short as promised, and every promise of an encoder kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.registry import create_encoder, load_plugin

SENSORS = Path(__file__).parents[2] / "bench" / "sensors"
pytestmark = pytest.mark.skipif(not SENSORS.exists(), reason="bench/ is not part of an installed package")


@pytest.mark.parametrize("name", ["impact_sound", "depth"])
def test_one_short_file_that_keeps_every_promise(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = SENSORS / f"{name}.py"
    assert len(path.read_text().splitlines()) <= 25
    assert main(["encoders", "check", name, "--plugin", str(path)]) == 0
    assert "11 of 11 promises kept" in capsys.readouterr().out


def test_depth_keeps_steps_that_eight_bits_would_lose(tmp_path: Path) -> None:
    load_plugin(SENSORS / "depth.py")
    depth = np.full((160, 160), 4900, np.uint16)
    depth[:80] += 32
    Image.fromarray(depth).save(tmp_path / "depth.png")
    value = create_encoder("depth").preprocess(Image.open(tmp_path / "depth.png"))
    assert value.shape == (1, 80, 80)
    assert float(value[0, 0, 0] - value[0, -1, 0]) == 0.5


def test_sound_is_heard_at_any_place_in_the_second() -> None:
    load_plugin(SENSORS / "impact_sound.py")
    encoder = create_encoder("impact_sound").eval()
    click = torch.zeros(2, 1, 22050)
    click[0, 0, 3000], click[1, 0, 15000] = 1.0, 1.0
    tokens = encoder(click).tokens
    loud = (tokens - tokens.mean(1, keepdim=True)).norm(dim=2).argmax(1)
    assert loud[0] < loud[1]
