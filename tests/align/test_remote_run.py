"""Stage one from a web server: the batches and weights that the same shards on disk give, also after `kill -9`."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shard_servers import KEYS, bucket, serving, upload

from conftest import vector_pairs
from pairalign.align.model import build_aligner
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs, build_datasets
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import DataError, IdentityError
from pairalign.core.registry import load_plugin
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.run import evaluate_run

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("PAIRALIGN_CACHE", str(tmp_path / "cache"))
    rows = [*vector_pairs(90, ("a", "b")), *vector_pairs(30, ("a", "b"), split="val")]
    units = {end: {"unit": "N"} for end in "ab"}
    pack_pairs(rows, tmp_path / "shards" / "a-b", units=units, shard_samples=12, progress=False)
    return {
        "modalities": {"a": {"encoder": "plain_vector"}, "b": {"encoder": "plain_vector", "tune": "none"}},
        "edges": [{"between": ["a", "b"], "shards": "a-b"}],
        "out": str(tmp_path / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 32},
        "train": {"steps": 14, "batch_size": 8, "warmup": 2, "accelerator": "cpu", "checkpoint_every": 4},
        "data": {"root": str(tmp_path / "shards"), "shuffle": 30},
        "plugins": [str(SUPPORT / "plain_vector.py")],
    }


def align(settings: dict[str, Any], folder: Path, root: str, kill_at: int = 0) -> tuple[int, list[str], str]:
    """Exit code, the keys of every batch, and what was printed, of the command with two loader workers."""
    folder.mkdir(exist_ok=True)
    told = {**settings, "data": {**settings["data"], "root": root, "workers": 2}}
    (folder / "config.json").write_text(json.dumps(told))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SPIED": str(folder), "KILL_AT": str(kill_at)}
    command = [sys.executable, str(SUPPORT / "spied_align.py"), "align", str(folder / "config.json"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    lines = (folder / "keys-0").read_text().splitlines() if (folder / "keys-0").exists() else []
    return done.returncode, [line.split(": ")[1] for line in lines], done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_from_wherever_the_same_shards_are(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    root = str(tmp_path / "shards")
    code, whole, printed = align({**settings, "out": str(tmp_path / "whole")}, tmp_path / "spied", root)
    assert (code, len(whole)) == (0, 14), printed
    with serving(tmp_path / "shards", login="anna:hunter2") as server:
        url = server.url.replace("://", "://anna:hunter2@") + "?sig=s3cr3t"
        code, batches, printed = align(settings, tmp_path / "first", url, kill_at=7)
        assert (code, batches) == (-signal.SIGKILL, whole[:6]), printed
        assert all(secret not in printed for secret in ("hunter2", "s3cr3t"))
        code, batches, printed = align(settings, tmp_path / "second", root, kill_at=6)
        assert (code, batches) == (-signal.SIGKILL, whole[4:9]), printed
        code, batches, printed = align(settings, tmp_path / "third", url)
        assert (code, batches) == (0, whole[8:]), printed
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in (b"hunter2", b"s3cr3t")), path


def test_another_content_is_another_run(settings: dict[str, Any], tmp_path: Path) -> None:
    load_plugin(settings["plugins"][0])
    config = load_config(AlignConfig, settings, ["train.steps=2"])
    align_pairs(config, progress=False)
    rows = [*vector_pairs(90, ("a", "b"), seed=5), *vector_pairs(30, ("a", "b"), split="val")]
    units = {end: {"unit": "N"} for end in "ab"}
    pack_pairs(rows, tmp_path / "other" / "a-b", units=units, shard_samples=12, progress=False)
    with serving(tmp_path / "other") as server, pytest.raises(IdentityError, match="shards of edge a-b"):
        align_pairs(load_config(AlignConfig, settings, ["train.steps=2", f"data.root={server.url}"]), progress=False)


def test_planning_measuring_and_datasets_take_a_bucket(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    load_plugin(settings["plugins"][0])
    with bucket() as (endpoint, client):
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        upload(client, tmp_path / "shards", "data")
        there = load_config(AlignConfig, settings, ["data.root=s3://pairs/data", "train.steps=2"])
        assert plan_run(there, progress=False).samples == {"a-b": 90}
        run = align_pairs(there, progress=False)
        found = evaluate_run(run, "s3://pairs/data/a-b", split="val", progress=False)
        here = evaluate_run(run, tmp_path / "shards" / "a-b", split="val", out=tmp_path / "here", progress=False)
        assert str(found.metrics["pools"]) == str(here.metrics["pools"])
        assert list(found.metrics["pools"]) == ["a-b/val"]


def test_a_run_folder_of_somebody_else_runs_no_command(settings: dict[str, Any], tmp_path: Path) -> None:
    from pairalign.align.run import load_aligned
    from pairalign.evaluate.protocols.task import start_task, trained_here

    load_plugin(settings["plugins"][0])
    run = align_pairs(load_config(AlignConfig, settings, ["train.steps=2"]), progress=False)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("shards: a-b", f"shards: 'pipe:touch {tmp_path}/ran; cat a.tar'"))
    theirs = load_aligned(run.folder)
    assert theirs.config.edges[0].shards == "pipe:touch ***"
    trained_here(start_task(theirs, tmp_path / "shards" / "a-b"))
    with pytest.raises(DataError, match="without its credentials"):
        build_datasets(theirs.config, build_aligner(theirs.config), progress=False)
    assert not (tmp_path / "ran").exists()
