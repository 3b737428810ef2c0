"""Stage one without each of its terms: real runs, each in its folder, compared on the same pairs; nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import vector_pairs
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError, DataError
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.ablation import ablate, arm_configs


@pytest.fixture
def settings(align_settings: dict[str, Any]) -> dict[str, Any]:
    del align_settings["modalities"]["c"], align_settings["edges"][1]
    align_settings["train"] |= {"steps": 4, "batch_size": 32}
    return align_settings


def test_every_arm_is_a_run_measured_on_the_same_pairs_and_a_second_command_trains_nothing(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_pairs([*vector_pairs(24, ("a", "b"), split="val")], tmp_path / "held", progress=False)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    words = ["ablate", str(tmp_path / "c.yaml"), "--pairs", str(tmp_path / "held"), "--without", "gates"]
    words += ["--out", str(tmp_path / "arms"), "--quiet"]
    assert main(words) == 0
    assert "no gates" in capsys.readouterr().out
    record = json.loads((tmp_path / "arms" / "ablation.json").read_text())
    assert list(record["arms"]) == ["full", "no gates"]
    for arm in record["arms"].values():
        (forward, _) = arm["pairs"]["a-b"]["recall"]
        assert forward["n"] == 24
        assert forward["chance"] == pytest.approx(1 / 24)
        assert arm["probes"]["a"]["shared"]["sign"]["low"] < arm["probes"]["a"]["shared"]["sign"]["value"]
    assert record["arms"]["no gates"]["gates"]["a-b"]["kept"] == 8
    assert "| a | sign | no gates |" in (tmp_path / "arms" / "ablation.md").read_text()
    assert (tmp_path / "arms" / "ablation.png").stat().st_size > 1000
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "arms").rglob("model.safetensors")}
    assert len(weights) == 2
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 24
    assert weights == {path: path.stat().st_mtime_ns for path in weights}


def test_an_arm_differs_from_the_full_one_in_its_term_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    arms = arm_configs(load_config(AlignConfig, settings), ["reconstruction", "gates", "norm"], tmp_path)
    full = arms["full"].loss
    assert {name: (a.loss.reconstruct, a.loss.gates, a.loss.minimal) for name, a in arms.items()} == {
        "full": (full.reconstruct, True, full.minimal),
        "no reconstruction": (0, True, full.minimal),
        "no gates": (full.reconstruct, False, full.minimal),
        "no norm": (full.reconstruct, True, 0),
    }
    assert len({arm.out for arm in arms.values()}) == 4
    assert len({arm.cache for arm in arms.values()}) == 1


@pytest.mark.parametrize(
    ("without", "loss", "message"),
    [
        (["gate"], {}, r"without 'gate' is no term of stage one\. Did you mean 'gates'"),
        (["norm"], {"minimal": 0}, r"without 'norm': loss\.minimal is 0.* already"),
        ([], {}, r"without=\[\]: name at least one"),
    ],
)
def test_a_term_that_is_unknown_or_off_is_refused_before_training(
    settings: dict[str, Any], pair_folder: Path, without: list[str], loss: dict[str, Any], message: str
) -> None:
    config = load_config(AlignConfig, {**settings, "loss": loss})
    with pytest.raises(ConfigError, match=message):
        ablate(config, pair_folder / "a-b", without=without, progress=False)
    assert not Path(f"{config.out}.ablation").exists()


def test_pairs_that_cannot_be_compared_are_refused_before_training(settings: dict[str, Any], pair_folder: Path) -> None:
    config = load_config(AlignConfig, settings)
    with pytest.raises(DataError, match=r"no split 'vall'\. Did you mean 'val'"):
        ablate(config, pair_folder / "a-b", split="vall", progress=False)
    with pytest.raises(DataError, match=r"hold b, c, of which the run aligns 1"):
        ablate(config, pair_folder / "b-c", progress=False)
    assert not Path(f"{config.out}.ablation").exists()
