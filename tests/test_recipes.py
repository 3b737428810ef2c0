"""Every packaged configuration can be read, and every recipe of stage one runs, tiny, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pairalign import AlignConfig, RecomposeConfig, load_config
from pairalign.cli.main import main
from pairalign.config import config_keys
from pairalign.data.pack import pack_pairs

ROOT = Path(__file__).parents[1]
EVERY = sorted(p for p in (ROOT / "configs").rglob("*.yaml"))
STAGE_ONE = ("tvl", "anytouch", "uni3d", "text_points", "touch_text", "pairwise")
TINY = {
    "image": {"config": "tiny-vit"},
    "text": {"config": "tiny"},
    "touch": {"preset": "mini", "size": 32, "patch": 8},
    "points": {"points": 32, "channels": 4, "width": 16, "normalize": "unit_ball"},
}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_reads_and_names_its_command(path: Path) -> None:
    two = bool(config_keys(path) & {"base", "senses"})
    load_config(RecomposeConfig if two else AlignConfig, path)
    lines = path.read_text().splitlines()
    name = path.relative_to(ROOT).as_posix()
    assert any(f"pairalign {'recompose' if two else 'align'} {name}" in line for line in lines[:2])
    assert len(lines) <= 60


def rows(fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for number in range(10):
        made = {
            "image": Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)),
            "touch": Image.fromarray(rng.integers(0, 255, (36, 36, 3), np.uint8)),
            "text": f"thing {number}",
            "points": rng.normal(size=(40, 3)).astype(np.float32),
        }
        part = "val" if number > 5 else "train"
        yield {"key": f"{number}", **{f: made[f] for f in fields}, "split": part, "splits": {"by_object": part}}


@pytest.mark.parametrize("name", STAGE_ONE)
def test_a_recipe_of_stage_one_runs_end_to_end(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text())
    folders: dict[str, set[str]] = {}
    for edge in settings["edges"]:
        folders.setdefault(edge["shards"], set()).update(edge["between"])
    for folder, fields in folders.items():
        pack_pairs(rows(tuple(sorted(fields))), tmp_path / "shards" / folder, progress=False)
    words = [f"modalities.{m}.options={json.dumps(TINY[m])}" for m in settings["modalities"]]
    words += ["latent.shared=16", "train.steps=2", "train.batch_size=3", "train.warmup=1", "train.accelerator=cpu"]
    words += ["train.precision=32-true", "data.workers=0", f"out={tmp_path / 'run'}"]
    words += [f"data.root={tmp_path / 'shards'}/"]
    if name == "tvl":  # divisions, as converters write them
        words += ["data.train_split=by_object/train", "data.val_split=by_object/val"]
    assert main(["plan", str(path), *words]) == 0
    assert "trained" in capsys.readouterr().out
    assert main(["align", str(path), *words, "--quiet"]) == 0
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert all(np.isfinite(v) for line in told for v in line.values() if isinstance(v, float))
    assert any(key.startswith("val") for line in told for key in line)
