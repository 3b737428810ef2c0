"""A device, precision or strategy that is not there: one clean line on every verb, before anything long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stage_two import values

from pairalign.cli.main import main
from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError
from pairalign.finetune.config import RecomposeConfig
from pairalign.runtime import find_device
from pairalign.sensors import processor as loading
from pairalign.sensors.processor import Loading, load_base

WORDS = {
    "evaluate": ["evaluate", "nowhere", "--pairs", "nowhere"],
    "protocol": ["evaluate", "nowhere", "--pairs", "nowhere", "--protocol", "tvl"],
    "score": ["score", "nowhere"],
    "export": ["export", "nowhere", "out"],
    "ask": ["ask", "nowhere", "is it soft?"],
    "describe": ["describe", "nowhere", "--pairs", "nowhere"],
    "demo": ["demo", "--out", "nowhere"],
    "encoders": ["encoders", "check", "touch_cnn"],
}


@pytest.fixture
def configs(setup: Path, align_settings: dict[str, Any], tmp_path: Path) -> dict[str, list[str]]:
    """The verbs that read a configuration."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(yaml.safe_dump(align_settings), encoding="utf-8")
    two.write_text(yaml.safe_dump(values(setup, tmp_path / "taught")), encoding="utf-8")
    return {
        "plan": ["plan", str(one)],
        "align": ["align", str(one)],
        "recompose": ["recompose", str(two)],
        "dry-run": ["recompose", str(two), "--dry-run"],
    }


def refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("pairalign: ")
    assert len(error.splitlines()) == 1
    assert said in error


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "gpu"])
def test_a_device_that_is_not_there(
    name: str, configs: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for words in (WORDS | configs).values():
        refused([*words, "--device", name], f"--device={name!r} is not on this machine", capsys)
    for words in configs.values():
        refused([*words, f"train.accelerator={name}"], f"train.accelerator={name!r} is not on this machine", capsys)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["cud", "cuda:x", "meta", "tpu9", "cpu:1"])
def test_a_name_that_is_no_device(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["score", "nowhere", "--device", name], f"--device={name!r}: give auto, cpu, cuda, cuda:N or mps", capsys)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("precision=7-mixed", "train.precision='7-mixed': give one of 32-true, bf16-mixed, 16-mixed"),
        ("precision=bf16-true", "train.precision='bf16-true' would round the weights that stay frozen"),
        ("precision=16-true", "train.precision='16-true' would round"),
        ("precision=16-mixed", "train.precision='16-mixed' needs a GPU"),
        ("strategy=dpp", "train.strategy='dpp': give auto, ddp or another that Lightning knows. Did you mean 'ddp'?"),
    ],
)
def test_a_precision_or_strategy_that_cannot_train(
    setting: str, said: str, configs: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in configs.values():
        assert main([*words, f"train.{setting}"]) == 2
        error = capsys.readouterr().err.splitlines()
        assert said in error[-1]
        assert len(error) == 2
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "taught").exists()


def test_the_device_is_printed_once_and_overrides_the_configuration(
    configs: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*configs["plan"], "train.accelerator=cuda", "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count("device: cpu") == 1


def test_auto_is_the_accelerator_and_numbers_count_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device() == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert find_device() == find_device("gpu") == find_device("cuda") == torch.device("cuda", 0)
    assert find_device("auto", local_rank=1) == find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="this machine has 2 of them, numbered from 0"):
        find_device("cuda:2")
    with pytest.raises(ConfigError, match="process 2 of this node sees 2 GPUs"):
        find_device("cuda", local_rank=2)
    with pytest.raises(ConfigError, match="which has cpu and cuda"):
        find_device("mps")


def test_what_says_how_a_base_is_loaded_reaches_model_and_processor(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    asked: dict[str, dict[str, Any]] = {}
    for kind in (transformers.AutoModelForImageTextToText, transformers.AutoProcessor):
        real = kind.from_pretrained

        def spy(name: str, *, real: Any = real, kind: Any = kind, **options: Any) -> Any:
            asked[kind.__name__] = options
            return real(name, **options)

        monkeypatch.setattr(kind, "from_pretrained", spy)
    config = load_config(
        RecomposeConfig,
        values(setup, tmp_path, attn_implementation="eager", revision="main", device_map="cpu", dtype="bfloat16"),
    )
    how = Loading(config.device_map, config.attn_implementation, config.revision, config.trust_remote_code)
    model, _ = load_base(config.base, config.dtype, loading=how)
    assert next(model.parameters()).dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    told = asked["AutoModelForImageTextToText"]
    assert (told["revision"], told["device_map"], told["trust_remote_code"]) == ("main", "cpu", False)
    assert asked["AutoProcessor"] == {"trust_remote_code": False, "revision": "main"}
    load_base(config.base, loading=Loading(trust_remote_code=True))
    assert all(options["trust_remote_code"] is True for options in asked.values())


def test_remote_code_runs_only_where_it_was_asked_for(setup: Path, tmp_path: Path) -> None:
    import json
    import shutil

    base = tmp_path / "base"
    shutil.copytree(setup / "base", base)
    config = json.loads((base / "config.json").read_text())
    config["model_type"] = "strange"
    config["auto_map"] = {"AutoConfig": "strange.Strange", "AutoModelForImageTextToText": "strange.Model"}
    (base / "config.json").write_text(json.dumps(config))
    (base / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise ImportError('strange')\n")
    with pytest.raises(ConfigError, match="only where trust_remote_code is set"):
        load_base(str(base))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ConfigError):
        load_base(str(base), loading=Loading(trust_remote_code=True))
    assert (tmp_path / "ran").exists()


def test_without_accelerate_weights_go_by_way_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert loading._device_map(torch.device("cuda", 0), None) == {}
    with pytest.raises(ConfigError, match="needs accelerate"):
        loading._device_map(torch.device("cuda", 0), "auto")
    monkeypatch.undo()
    assert loading._device_map(torch.device("cuda", 0), None) == {"device_map": {"": torch.device("cuda", 0)}}
    assert loading._device_map(torch.device("cpu"), None) == {}
