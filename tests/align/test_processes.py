"""Two real gloo processes, started as users start them, train what one process trains."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conftest import vector_pairs
from pairalign.align.run import align_pairs, build_datasets, load_aligned, read_metrics
from pairalign.align.sums import Sums
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import CheckpointError
from pairalign.data.pack import pack_pairs
from pairalign.runtime import Runtime

SPIED = str(Path(__file__).parents[1] / "support" / "spied_align.py")
PLUGIN = str(Path(__file__).parents[1] / "support" / "plain_vector.py")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Two edges whose validation pairs do not divide: a–b has one batch, so that one process has none; b–c has three.

    90 training pairs are no multiple of a batch, so that batches reach over the ends of epochs.
    """
    for edge, held in ((("a", "b"), 3), (("b", "c"), 20)):
        rows = [*vector_pairs(90, edge), *vector_pairs(held, edge, split="val")]
        units = {end: {"unit": "N"} for end in edge}
        pack_pairs(rows, tmp_path / "shards" / "-".join(edge), units=units, shard_samples=30, progress=False)
    return {
        "modalities": {end: {"encoder": "plain_vector"} for end in "ab"}
        | {"c": {"encoder": "plain_vector", "tune": "none"}},  # both processes need its cache: one builds it
        "edges": [{"between": ["a", "b"], "shards": "a-b"}, {"between": ["b", "c"], "shards": "b-c"}],
        "out": str(tmp_path / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 32},
        "loss": {"noise": 0.0},  # each process draws its own
        "train": {
            **{"steps": 14, "batch_size": 8, "warmup": 2, "lr": 5e-3, "accelerator": "cpu"},
            **{"checkpoint_every": 9, "keep_checkpoint": True, "validate_every": 7},
        },
        "data": {"root": str(tmp_path / "shards"), "shuffle": 50},
        "plugins": [PLUGIN],
    }


def start(command: list[str], settings: dict[str, Any], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A command on these settings, its keys spied on."""
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    told = {**os.environ, "OMP_NUM_THREADS": "1", "SPIED": str(folder), **environment}
    return subprocess.Popen(
        [*command, "align", str(path), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=told
    )


def torchrun(settings: dict[str, Any], folder: Path) -> list[subprocess.Popen[str]]:
    elastic = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [start([sys.executable, *elastic, SPIED], settings, folder)]


def devices(settings: dict[str, Any], folder: Path) -> list[subprocess.Popen[str]]:
    settings = {**settings, "train": {**settings["train"], "devices": 2}}
    return [start([sys.executable, SPIED], settings, folder)]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def slurm(settings: dict[str, Any], folder: Path) -> list[subprocess.Popen[str]]:
    """As `srun --ntasks=2` starts them, without --ntasks-per-node."""
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
    job |= {"SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [
        start([sys.executable, SPIED], settings, folder, **job, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank))
        for rank in range(2)
    ]


def lsf(settings: dict[str, Any], folder: Path) -> list[subprocess.Popen[str]]:
    """As `jsrun -n 2` starts them in an LSF job on this machine."""
    (folder / "hosts").write_text("\n".join(["login", *[socket.gethostname()] * 2]) + "\n")
    job = {"LSB_JOBID": "77", "LSB_DJOB_RANKFILE": str(folder / "hosts"), "MASTER_PORT": free_port()}
    job |= {"JSM_NAMESPACE_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2"}
    ranks = [{f"JSM_NAMESPACE_{name}": str(rank) for name in ("RANK", "LOCAL_RANK")} for rank in range(2)]
    return [start([sys.executable, SPIED], settings, folder, **job, **mine) for mine in ranks]


def mpirun(settings: dict[str, Any], folder: Path) -> list[subprocess.Popen[str]]:
    """As Open MPI starts them."""
    ranks = [{f"OMPI_COMM_WORLD_{name}": str(rank) for name in ("RANK", "LOCAL_RANK")} for rank in range(2)]
    return [start([sys.executable, SPIED], settings, folder, OMPI_COMM_WORLD_SIZE="2", **mine) for mine in ranks]


def finish(started: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Exit codes and all that was printed."""
    printed = "".join(process.communicate(timeout=240)[0] for process in started)
    return [process.returncode for process in started], printed


def keys(folder: Path, rank: int) -> list[list[str]]:
    return [line.split(": ")[1].split() for line in (folder / f"keys-{rank}").read_text().splitlines()]


def alone(settings: dict[str, Any], out: Path, size: int) -> Path:
    """The same run in this process alone."""
    train = {**settings["train"], "batch_size": size}
    return align_pairs(load_config(AlignConfig, {**settings, "out": str(out), "train": train}), progress=False).folder


def held_out(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """What one process finds on the validation pairs with a run's weights."""
    run, sums = load_aligned(folder), Sums()
    with torch.no_grad():
        datasets = build_datasets(load_config(AlignConfig, settings), run.aligner, progress=False)
        for name, dataset in datasets["val"].items():
            for batch in dataset:
                for term, value in run.aligner.edge_terms(dataset.edges[0], batch.a, batch.b).items():
                    sums.add(f"val/{name}/{term}", value, len(batch.keys))
    return sums.means(Runtime())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [devices, slurm, torchrun, lsf])
def test_two_processes_train_what_one_does_with_twice_the_batch(
    launcher: Callable[..., Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    codes, printed = finish(launcher(settings, tmp_path))
    assert set(codes) == {0}, printed
    names = {"devices": "train.devices", "slurm": "SLURM", "torchrun": "torchrun", "lsf": "LSF"}
    name = names[launcher.__name__]
    for rank in range(2):
        assert all(f"{name} 2:" in line for line in (tmp_path / f"keys-{rank}").read_text().splitlines())
    mine, others = keys(tmp_path, 0), keys(tmp_path, 1)
    assert len(mine) == len(others) == 14
    assert all(not set(one) & set(other) for one, other in zip(mine, others, strict=True))
    assert len({key for batch in mine[:5] + others[:5] for key in batch}) == 80  # of one epoch, none twice

    reference = alone(settings, tmp_path / "alone", 16)
    one, two = (load_file(folder / "model.safetensors") for folder in (reference, tmp_path / "run"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    for first, second in zip(read_metrics(reference), read_metrics(tmp_path / "run"), strict=True):
        assert first["step"] == second["step"]
        shared = [name for name in first if name.startswith("train/")]
        assert all(abs(first[name] - second[name]) < 1e-5 for name in shared), (first, second)
    last = next(line for line in reversed(read_metrics(tmp_path / "run")) if "val/loss" in line)
    expected = held_out(tmp_path / "run", settings)
    assert len(expected) == 8
    assert all(abs(last[name] - value) < 1e-6 for name, value in expected.items()), (last, expected)
    assert all(0 <= value <= 1 for name, value in last.items() if name.endswith("/gate"))


@pytest.mark.slow
def test_a_resumed_run_of_two_processes_is_the_same_and_is_not_mistaken_for_one(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    codes, printed = finish(devices(settings, tmp_path))
    assert codes == [0], printed
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    (tmp_path / "run" / "model.safetensors").unlink()  # as if killed after its last checkpoint, at step 9
    with pytest.raises(CheckpointError, match="was written by 2 processes, now there are 1"):
        align_pairs(load_config(AlignConfig, settings, ["train.devices=1"]), progress=False)
    codes, printed = finish(devices(settings, tmp_path))
    assert codes == [0], printed
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "run")


@pytest.mark.slow
def test_processes_of_mpirun_are_refused_where_they_cannot_be_joined(settings: dict[str, Any], tmp_path: Path) -> None:
    """Neither trains alone."""
    if find_spec("mpi4py") is not None:
        pytest.skip("with mpi4py they are joined")
    codes, printed = finish(mpirun(settings, tmp_path))
    assert codes == [2, 2], printed
    assert printed.count("pairalign: OMPI_COMM_WORLD_SIZE=2: mpirun started these processes, and joining them") == 2
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("keys-*"))


def spoil(folder: Path, keys: list[str], field: str = "a") -> None:
    """Write over the first bytes of a field of some samples, where they lie in their shards."""
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            places = {info.name: info.offset_data for info in tar}
        with shard.open("r+b") as file:
            for key in keys:
                for name, place in places.items():
                    if name.startswith(f"{key}.{field}."):
                        file.seek(place)
                        file.write(b"damaged")


BAD = [f"train-{n:05d}" for n in (3, 20, 41, 77)]


@pytest.mark.slow
def test_damaged_samples_of_two_processes_are_told_and_counted_once(settings: dict[str, Any], tmp_path: Path) -> None:
    """Met by both processes, in several epochs, by loader workers, and in the only validation batch."""
    spoil(tmp_path / "shards" / "a-b", [*BAD, "val-00001"])
    settings["data"] |= {"bad_fraction": 0.05, "workers": 1}
    settings["train"] |= {"steps": 24}
    codes, printed = finish(devices(settings, tmp_path))
    assert codes == [0], printed
    told = re.findall(r"damaged sample left out: a-b (\S+): (?=.*a\.npy)", printed)
    assert sorted(told) == sorted(set(told))
    assert set(told) == {*BAD, "val-00001"}
    assert not {key for rank in range(2) for batch in keys(tmp_path, rank) for key in batch} & set(BAD)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["pairalign"]["ranks"]
    assert [set(rank["bad"]["a-b"]) for rank in saved] == [set(saved[0]["bad"]["a-b"])] * 2


@pytest.mark.slow
def test_the_share_of_damaged_samples_is_that_of_all_processes(settings: dict[str, Any], tmp_path: Path) -> None:
    """No process meets as many as are too many; together they do, and both end."""
    spoil(tmp_path / "shards" / "a-b", BAD)
    settings["data"] |= {"bad_fraction": 0.03}
    settings["train"] |= {"batch_size": 8, "validate_every": 0}
    codes, printed = finish(devices(settings, tmp_path))
    assert codes == [2], printed
    (line,) = re.findall(r"^pairalign: .*$", printed, re.M)
    assert re.fullmatch(
        r"pairalign: edge a-b: 4 of \d+ samples are damaged, more than data.bad_fraction=0.03 allows. First: train-.*",
        line,
    )
    assert "Traceback" not in printed
