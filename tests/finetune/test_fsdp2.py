"""Stage two with its language model shared out among two real processes is the run of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stage_two import settings, values

import pairalign as pa
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.finetune.run import load_recomposed, recompose_mllm

WORLD = 2
WORKER = Path(__file__).parents[1] / "support" / "fsdp_worker.py"
TRAIN = {"steps": 2, "batch_size": 8, "accumulate": 2, "warmup": 1, "lr": 1e-3, "accelerator": "cpu", "clip": 0.5}
TRAIN |= {"validate_every": 1, "measure_tokens": 2}


def together(command: list[str], world: int = WORLD, timeout: float = 300) -> list[str]:
    """Run a command in `world` processes, as torchrun would, and return what each said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1", "GROUP_RANK": "0"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        said = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n\n".join(said)
    return said


def shared_run(setup: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The settings of one process's share of `whole_run`."""
    train = {**TRAIN, **changes.pop("train", {})}
    train = {**train, "batch_size": train["batch_size"] // WORLD, "strategy": "fsdp2"}
    return values(setup, out, train=train, **changes)


def whole_run(setup: Path, out: Path, **changes: Any) -> None:
    """The same run in this process."""
    train = {**TRAIN, **changes.pop("train", {})}
    recompose_mllm(settings(setup, out, train=train, **changes), progress=False)


def run_all(folder: Path, runs: list[dict[str, Any]]) -> None:
    (folder / "runs.json").write_text(json.dumps(runs))
    together([sys.executable, str(WORKER), str(folder / "runs.json")])


def figures(folder: Path) -> dict[str, float]:
    """Every loss, accuracy and drift that a run measured, by name and step, and the losses of its training steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {f"{name} at {line['step']}": value for line in lines for name, value in line.items() if name != "step"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        found |= {f"{file.name}: {name}": tensor for name, tensor in load_file(file).items()}
    return found


def assert_same_run(found: Path, wanted: Path, atol: float = 2e-6) -> None:
    assert figures(found) == pytest.approx(figures(wanted), abs=5e-6)
    ours, theirs = weights(found), weights(wanted)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 3
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=atol, rtol=1e-5, msg=lambda said, n=name: f"{n}: {said}")


FAST: dict[str, dict[str, Any]] = {
    "rows": {"dormant": {"score": "splash", "structure": "rows", "density": 0.25}},
    "full": {"method": "full", "validation": {}, "held_out": {}},
}


@pytest.fixture(scope="module")
def fast(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    run_all(folder, [shared_run(setup, folder / name, **changes) for name, changes in FAST.items()])
    return folder


@pytest.mark.parametrize("name", FAST)
def test_two_processes_are_one(setup: Path, fast: Path, tmp_path: Path, name: str) -> None:
    whole_run(setup, tmp_path / name, **FAST[name])
    assert_same_run(fast / name, tmp_path / name)
    if name == "rows":
        receipts = [json.loads((folder / name / "receipt.json").read_text()) for folder in (fast, tmp_path)]
        assert receipts[0] == receipts[1]
        assert receipts[0]["clean"]
        assert receipts[0]["tensors"] > 40


def test_what_was_trained_in_parts_answers_in_one_process(fast: Path) -> None:
    run = load_recomposed(fast / "rows")
    assert run.results["after"]["validation"]["touch"]["loss"] > 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "ewc"}, "method='ewc'"),
        ({"method": "wise_ft"}, "method='wise_ft'"),
        ({"method": "moe_lora"}, "method='moe_lora'"),
        ({"dormant": {"score": "fisher"}}, "dormant.score='fisher'"),
        ({"dormant": {"score": "dowser"}}, "dormant.score='dowser'"),
        ({"method": "lora", "options": {"init_lora_weights": "pissa"}}, "init_lora_weights='pissa'"),
        ({"train": {"strategy": "fsdp2", "precision": "bf16-true"}}, "train.precision='bf16-true'"),
        ({"train": {"strategy": "fsdp"}}, "train.strategy='fsdp'"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    changed = {"train": {"strategy": "fsdp2"}, **changes}
    with pytest.raises(ConfigError) as said:  # before anything is read: there is nothing there
        recompose_mllm(settings(tmp_path, tmp_path / "run", **changed), progress=False)
    assert named in str(said.value)
    assert "\n" not in str(said.value)
    assert not (tmp_path / "run").exists()


def test_stage_one_says_that_it_has_no_fsdp2(tmp_path: Path) -> None:
    edge = {"between": ["a", "b"], "shards": "pairs"}
    side = {"encoder": "tiny_vector"}
    told = {"modalities": {"a": side, "b": side}, "edges": [edge], "out": str(tmp_path), "train": {"strategy": "fsdp2"}}
    with pytest.raises(ConfigError, match=r"train.strategy='fsdp2': stage one .* give auto or ddp"):
        pa.align_pairs(load_config(AlignConfig, told))
