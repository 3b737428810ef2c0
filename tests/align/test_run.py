"""Whole runs through real shards and Lightning: they learn, resume to the bit, and refuse what does not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conftest import heed_ctrl_c
from pairalign.align.run import align_pairs, load_aligned, read_metrics
from pairalign.core.config import AlignConfig, load_config, to_yaml
from pairalign.core.errors import CheckpointError, ConfigError, DataError, GraphError, RegistryError, SignalError

Settings = dict[str, Any]


def config(settings: Settings, *overrides: str) -> AlignConfig:
    return load_config(AlignConfig, settings, overrides)


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_training_lowers_the_loss_and_the_run_can_be_loaded(align_settings: Settings) -> None:
    run = align_pairs(config(align_settings, "train.steps=60", "train.lr=5e-3"), progress=False)
    losses = [m["train/a-b/contrast"] for m in read_metrics(run.folder) if "train/a-b/contrast" in m]
    assert losses[-1] < 0.7 * losses[0]
    assert any("val/loss" in m for m in read_metrics(run.folder))
    again = load_aligned(run.folder).aligner
    x = torch.randn(3, 6)
    assert torch.equal(again.encode("a", x).shared, run.aligner.encode("a", x).shared)
    record = json.loads((run.folder / "versions.json").read_text())
    assert record["seed"] == 0
    assert record["torch"]


def test_same_seed_same_weights_other_seed_other_weights(align_settings: Settings, tmp_path: Path) -> None:
    found = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        align_pairs(config(align_settings, f"out={tmp_path / name}", f"seed={seed}"), progress=False)
        found.append(weights(tmp_path / name))
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    assert not all(torch.equal(found[0][k], found[2][k]) for k in found[0])


@pytest.mark.parametrize(("accumulate", "workers"), [(1, 0), (1, 2), (2, 2)])
def test_a_killed_run_resumes_to_the_bit(
    align_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, workers: int
) -> None:
    extra = (f"train.accumulate={accumulate}", f"data.workers={workers}", "loss.noise=0.3")
    align_pairs(config(align_settings, f"out={tmp_path / 'whole'}", *extra), progress=False)

    from pairalign.align.task import StageOne

    step = StageOne.training_step

    def dying(self: StageOne, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 9:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    cut = config(align_settings, f"out={tmp_path / 'cut'}", *extra)
    with monkeypatch.context() as patch:
        patch.setattr(StageOne, "training_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            align_pairs(cut, progress=False)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    align_pairs(cut, progress=False)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    steps = [m["step"] for m in read_metrics(tmp_path / "cut") if "train/loss" in m]
    assert steps == sorted(set(steps))


def test_a_finished_run_is_returned_and_fresh_starts_over(align_settings: Settings) -> None:
    run = align_pairs(config(align_settings), progress=False)
    written = (run.folder / "model.safetensors").stat().st_mtime_ns
    align_pairs(config(align_settings), progress=False)
    assert (run.folder / "model.safetensors").stat().st_mtime_ns == written
    align_pairs(config(align_settings), progress=False, fresh=True)
    assert (run.folder / "model.safetensors").stat().st_mtime_ns != written


def test_another_configuration_in_the_same_folder_is_refused(align_settings: Settings) -> None:
    align_pairs(config(align_settings), progress=False)
    with pytest.raises(CheckpointError, match=r"train.lr.*choose another `out`"):
        align_pairs(config(align_settings, "train.lr=9e-3"), progress=False)
    align_pairs(config(align_settings, "train.threads=1"), progress=False)  # does not change the result


def test_a_damaged_checkpoint_is_refused(align_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    written = "# pairalign align run/config.yaml\n" + to_yaml(config(align_settings))  # by an earlier version
    (tmp_path / "run" / "config.yaml").write_text(written)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"damaged.*--fresh"):
        align_pairs(config(align_settings), progress=False)


def test_an_encoder_starts_from_an_earlier_run(align_settings: Settings, tmp_path: Path) -> None:
    first = align_pairs(config(align_settings, f"out={tmp_path / 'first'}", "loss.contrast=0"), progress=False)
    still = ["train.lr=0", "train.weight_decay=0", "train.steps=1", "seed=5"]
    begun = [*still, f"modalities.a.start={first.folder}"]
    second = align_pairs(config(align_settings, f"out={tmp_path / 'second'}", *begun), progress=False)
    fresh = align_pairs(config(align_settings, f"out={tmp_path / 'fresh'}", *still), progress=False)
    mine, earlier, other = (run.aligner.state_dict() for run in (second, first, fresh))
    for name, value in mine.items():
        assert torch.equal(value, (earlier if name.startswith("encoders.a.") else other)[name]), name
    assert not torch.equal(mine["encoders.a.net.0.weight"], other["encoders.a.net.0.weight"])
    again = align_pairs(config(align_settings, f"out={tmp_path / 'second'}", *begun), progress=False)
    assert torch.equal(
        again.aligner.encode("a", torch.ones(1, 6)).shared, second.aligner.encode("a", torch.ones(1, 6)).shared
    )


def test_a_start_that_does_not_fit_is_refused(align_settings: Settings, tmp_path: Path) -> None:
    first = align_pairs(config(align_settings, f"out={tmp_path / 'first'}", "train.steps=1"), progress=False)
    align_settings["modalities"] = {**align_settings["modalities"], "d": {"encoder": "tiny_vector"}}
    for override, message in (
        (f"modalities.a.start={tmp_path / 'none'}", "is no finished run"),
        (f"modalities.d.start={first.folder}", "that run trained no 'd'"),
        (f"modalities.a={{encoder: tiny_vector, options: {{width: 8}}, start: {first.folder}}}", "size mismatch"),
    ):
        with pytest.raises(ConfigError, match=message):
            align_pairs(config(align_settings, override, "allow_disconnected=true"), progress=False)


def test_a_folder_where_nothing_was_trained_takes_the_corrected_settings(align_settings: Settings) -> None:
    with pytest.raises(DataError, match="no split 'trian'"):
        align_pairs(config(align_settings, "data.train_split=trian"), progress=False)
    assert align_pairs(config(align_settings, "train.steps=1"), progress=False).folder.is_dir()


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("modalities.a.encoder=tiny_vectr", RegistryError, "Did you mean 'tiny_vector'"),
        ("edges.0.between=[a, x]", GraphError, "'x', which has no encoder"),
        ("modalities.lonely={encoder: tiny_vector}", GraphError, "not connected"),
        ("train.batch_size=1", DataError, "at least two samples"),
        ("data.train_split=trian", DataError, "no split 'trian'. Did you mean 'train'"),
        ("edges.0.shards=nowhere", DataError, "does not exist"),
        ("modalities.a.source=z", DataError, "holds no field 'z'"),
        ("modalities.a.options={size: 7}", DataError, r"shape \(6,\) is not the declared \(7,\)"),
    ],
)
def test_bad_input_is_refused_before_training(
    align_settings: Settings, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        align_pairs(config(align_settings, override), progress=False)


def test_wrong_unit_is_refused(align_settings: Settings, pair_folder: Path) -> None:
    index = pair_folder / "a-b" / "index.json"
    index.write_text(index.read_text().replace('"unit": "N"', '"unit": "kN"'))
    with pytest.raises(SignalError, match="records unit 'kN', the encoder declares 'N'"):
        align_pairs(config(align_settings), progress=False)


def test_disconnected_graph_trains_when_allowed(align_settings: Settings) -> None:
    align_settings["modalities"] = {**align_settings["modalities"], "d": {"encoder": "tiny_vector"}}
    align_settings["edges"] = [align_settings["edges"][0]]
    del align_settings["modalities"]["c"], align_settings["modalities"]["d"]
    align_settings["modalities"]["c"] = {"encoder": "tiny_vector"}
    run = align_pairs(config(align_settings, "allow_disconnected=true"), progress=False)
    assert not run.aligner.graph.connected


def test_ctrl_c_leaves_a_checkpoint_that_resumes_to_the_bit(align_settings: Settings, tmp_path: Path) -> None:
    """The child waits in a step of its training until it has got the signal."""
    align_pairs(config(align_settings, f"out={tmp_path / 'whole'}"), progress=False)
    script = (
        "import pathlib, sys, time; sys.path.insert(0, sys.argv[1]); import conftest\n"
        "from pairalign.align.task import StageOne; from pairalign.core.registry import register_encoder\n"
        "register_encoder('tiny_vector')(conftest.TinyVector); step = StageOne.training_step\n"
        "there, on = (pathlib.Path(sys.argv[2]).with_name(name) for name in ('there', 'on'))\n"
        "def waits(self, batch, index):\n"
        "    there.touch() if self.global_step == 7 else None\n"
        "    while self.global_step == 7 and not on.exists(): time.sleep(0.01)\n"
        "    return step(self, batch, index)\n"
        "StageOne.training_step = waits\n"
        "from pairalign.cli.main import main; sys.exit(main(['align', sys.argv[2], '--quiet']))\n"
    )
    path = tmp_path / "c.json"
    path.write_text(json.dumps(align_settings))
    command = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c)
    deadline = time.monotonic() + 280
    while not (tmp_path / "there").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    (tmp_path / "on").touch()
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    align_pairs(config(align_settings), progress=False)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.allclose(whole[k], resumed[k], atol=1e-6) for k in whole)
