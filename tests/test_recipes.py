"""Every packaged configuration can be read, and every recipe runs, tiny, by the command in its first line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny_recipes import behind, pack_questions, tiny_stage_two

from pairalign import AlignConfig, RecomposeConfig, load_config
from pairalign.cli.main import main
from pairalign.core.config import config_keys
from pairalign.data.pack import pack_pairs

ROOT = Path(__file__).parents[1]
EVERY = sorted(p for p in (ROOT / "configs").rglob("*.yaml"))
STAGE_ONE = (
    "tvl",
    "splash",
    "anytouch_masked",
    "anytouch",
    "anytouch_single",
    "uni3d",
    "text_points",
    "touch_text",
    "pairwise",
)
TINY = {
    "image": {"config": "tiny-vit"},
    "text": {"config": "tiny"},
    "touch": {"preset": "mini", "size": 32, "patch": 8},
    "points": {"points": 32, "channels": 4, "width": 16, "normalize": "unit_ball"},
}
TOWER = {"tower": "test_vit", "weights": "none", "size": 32}
STAGE_TWO = sorted(p.stem for p in (ROOT / "configs" / "recompose").glob("*.yaml"))


@pytest.fixture(autouse=True)
def beside_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the project's folder, where a command names its file as `configs/…`; what it writes lies elsewhere."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)


def command(path: Path) -> list[str]:
    """What the first line of a file says that it is run with, without `pairalign`; its placeholders as they are."""
    return shlex.split(path.read_text().splitlines()[0].partition("     ")[0].removeprefix("# "))[1:]


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_reads_and_names_its_command(path: Path) -> None:
    two = bool(config_keys(path) & {"base", "sensors"})
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
        yield {
            "key": f"{number}",
            **{f: made[f] for f in fields},
            "split": part,
            "splits": {"by_object": part, "by_recording": part},
        }


def pack_for(name: str, root: Path) -> list[str]:
    """Pack tiny pairs for a recipe; returns what makes its run tiny."""
    settings = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    folders: dict[str, set[str]] = {}
    for edge in settings["edges"]:
        shards = edge["shards"]
        for entry in [shards] if isinstance(shards, str) else shards:
            path = entry["path"] if isinstance(entry, dict) else entry
            folders.setdefault(path, set()).update(edge["between"])
    for folder, fields in folders.items():
        pack_pairs(rows(tuple(sorted(fields))), root / folder, progress=False)
    told = {m: s.get("options", {}) for m, s in settings["modalities"].items()}
    tiny = TINY | ({"touch": TOWER} if "tower" in settings["modalities"].get("touch", {}).get("options", {}) else {})
    sensors = {m: {"sensors": options["sensors"]} if "sensors" in options else {} for m, options in told.items()}
    words = [f"modalities.{m}.options={json.dumps(tiny[m] | sensors[m])}" for m in settings["modalities"]]
    words += ["latent.shared=16", "train.steps=2", "train.batch_size=3", "train.warmup=1", "train.accelerator=cpu"]
    return [*words, "train.precision=32-true", "data.workers=0", f"data.root={root}/"]


@pytest.mark.parametrize("name", STAGE_ONE)
def test_a_recipe_of_stage_one_runs_end_to_end(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    words = [*pack_for(name, tmp_path / "shards"), f"out={tmp_path / 'run'}"]
    if name == "tvl":  # split sets, as converters write them
        words += ["data.train_split=by_object/train", "data.val_split=by_object/val"]
    assert main(["plan", str(path), *words]) == 0
    assert "trained" in capsys.readouterr().out
    assert main([*behind(command(path), words), "--quiet"]) == 0
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert all(np.isfinite(v) for line in told for v in line.values() if isinstance(v, float))
    assert any(key.startswith("val") for line in told for key in line)


def test_the_second_stage_of_anytouch_starts_from_its_first(tmp_path: Path) -> None:
    masked, second = (ROOT / "configs" / f"{name}.yaml" for name in ("anytouch_masked", "anytouch"))
    words = [*pack_for("anytouch_masked", tmp_path / "one"), "modalities.touch.options.masked=0.75"]
    assert main(["align", str(masked), *words, f"out={tmp_path / 'masked'}", "--quiet"]) == 0
    words = [*pack_for("anytouch", tmp_path / "two"), f"modalities.touch.start={tmp_path / 'masked'}", "train.lr=0"]
    assert main(["align", str(second), *words, f"out={tmp_path / 'run'}", "train.weight_decay=0", "--quiet"]) == 0
    learned, kept = (load_file(tmp_path / name / "model.safetensors") for name in ("masked", "run"))
    names = [name for name in kept if name.startswith("encoders.touch.")]
    assert len(names) > 20
    assert all(kept[name].equal(learned[name]) for name in names)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_questions(tmp_path_factory.mktemp("lessons"))


@pytest.mark.parametrize("name", STAGE_TWO)
def test_a_recipe_of_stage_two_runs_end_to_end(name: str, setup: Path, lessons: Path, tmp_path: Path) -> None:
    """Two steps on a tiny base, through the file itself."""
    path, out = ROOT / "configs" / "recompose" / f"{name}.yaml", tmp_path / "run"
    for name_of, place in (("DATA", setup), ("BASE", setup / "base")):
        (tmp_path / name_of).symlink_to(place)
    assert main([*behind(command(path), tiny_stage_two(name, setup, lessons, out)), "--quiet"]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["kept"]["step"] == 2
    assert found["after"]["held_out"]
    assert json.loads((out / "receipt.json").read_text())
    assert bool(found["tuned"]) == ("tune" in yaml.safe_load(path.read_text())["sensors"]["touch"])
