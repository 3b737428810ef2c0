"""MNAFT through a recipe: scored by the command line or the run, planned, trained in both towers, and its control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_two import IMAGE, TOUCH, make_setup, values

from pairalign.cli.main import main
from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError, DormantError
from pairalign.dormant.checkpoint import read_index
from pairalign.finetune.check import check_tasks
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.prepare import prepare
from pairalign.finetune.run import recompose_mllm
from pairalign.sensors.processor import CPU

WORDS = {"shards": "lessons/words", "prompt": "{question}", "answer": "{answer}"}
MARKS = {"score": "mnaft", "structure": "neurons", "choose": "relevant", "target_modules": "neurons", "acts": "always"}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")


def recipe(setup: Path, out: Path, **changes: Any) -> dict[str, Any]:
    told = {
        "tasks": {"touch": TOUCH, "image": IMAGE},
        "validation": {},
        "held_out": {},
        "calibration": {"pictures": IMAGE, "words": WORDS},
        "calibration_size": 8,
        "dormant": {**MARKS, "options": {"agnostic": 0.3}},
        "train": {"steps": 2, "batch_size": 4, "warmup": 0, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 0},
    }
    return values(setup, out, **{**told, **changes})


def test_score_plan_and_recompose_agree_through_one_yaml(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, marks = tmp_path / "mnaft.yaml", tmp_path / "marks.safetensors"
    file.write_text(yaml.safe_dump(recipe(setup, tmp_path / "run")))
    assert main(["score", str(file), "--out", str(marks), "--quiet", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "model.vision_tower.encoder.layers.0.mlp" in said[said.index("neurons of") :]
    assert main(["plan", str(file), f"scores={marks}", "--architecture", str(setup / "base"), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["exact"]
    assert main(["plan", str(file), "--architecture", str(setup / "base")]) == 0
    assert "about:" in capsys.readouterr().out
    done = recompose_mllm(load_config(RecomposeConfig, file), progress=False)
    trained = {name: len(index) for name, (_, _, index) in read_index(done.folder / "dormant").items()}
    counts = {one["name"]: one["trained"] for one in plan["neurons"] if one["trained"]}
    assert {name.rpartition(".")[0]: count for name, count in trained.items()} == counts
    llm: Any = done.model.llm
    assert llm.trainable()[0] == plan["trainable"]
    modules = dict(llm.base_model.named_modules())
    moved = [n for n, u in llm.updates("touch").items() if not u.values.equal(u.take(modules[n].weight).float())]
    assert {name.split(".")[1] for name in moved} == {"vision_tower", "language_model"}


def test_its_control_trains_as_many_of_each_layer(setup: Path, tmp_path: Path) -> None:
    counts = []
    for choose in ("relevant", "random"):
        changes = {"dormant": {**MARKS, "choose": choose}, "cache": str(tmp_path / "cache")}
        config = load_config(RecomposeConfig, recipe(setup, tmp_path / choose, **changes))
        made = prepare(config, CPU, check_tasks(config))
        setup_ = made.setup._replace(write=True)
        model: Any = made.method.prepare(made.model.llm, setup_)
        counts.append({name: mask.count for name, mask in model.masks("touch").items()})
    assert counts[0] == counts[1]
    assert len(list((tmp_path / "cache").glob("mnaft-*.safetensors"))) == 1  # scored once for both arms


def test_what_it_cannot_do_is_said_before_long_work(setup: Path, tmp_path: Path) -> None:
    def config(**changes: Any) -> RecomposeConfig:
        return load_config(RecomposeConfig, recipe(setup, tmp_path / "no", **changes))

    blind = config(tasks={"touch": TOUCH})
    with pytest.raises(ConfigError, match=r"layers read pictures, and no training task shows one"):
        prepare(blind, CPU, check_tasks(blind))
    with pytest.raises(DormantError, match="the opposite of the published method"):
        recompose_mllm(config(dormant={**MARKS, "choose": "lowest"}), progress=False)
    one = config(calibration={"pictures": IMAGE})
    with pytest.raises(DormantError, match="compares tasks, and the calibration data has one, pictures"):
        recompose_mllm(one, progress=False)
    assert not (tmp_path / "no" / "delta").exists()


def test_score_by_tasks_named_on_the_command_line(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"--calibration=pictures={setup}/lessons/image", f"--calibration=words={setup}/lessons/words"]
    told = ["--prompt", "{question}", "--answer", "{answer}", "--count", "4", "--device", "cpu", "--quiet"]
    base, out = str(setup / "base"), str(tmp_path / "m.safetensors")
    assert main(["score", base, "--method", "taylor", *sets, *told, "--target-modules", "fc1,fc2", "--out", out]) == 2
    assert "no such linear layer" in capsys.readouterr().err
    part = ["--target-modules", "gate_proj,up_proj,down_proj", "--out", out]
    assert main(["score", base, "--method", "mnaft", *sets, *told, *part]) == 0
    assert "agnostic" in capsys.readouterr().out
    assert main(["score", base, "--method", "mnaft", *sets[:1], *told, *part]) == 2
    assert "compares tasks" in capsys.readouterr().err
    assert main(["score", base, "steps=3"]) == 2
    assert "settings are of a recipe's YAML" in capsys.readouterr().err
