"""Settings without sense end the same in `plan` and in the run: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_two import values

from pairalign.cli.main import main

ONE = [
    "train.accumulate=0", "train.precision=7-mixed", "train.precision=16-mixed", "train.precision=bf16-true",
    "train.strategy=bananas", "train.strategy=fsdp", "train.accelerator=tpu", "train.accelerator=cuda:99",
    "train.devices=0", "train.threads=-2", "train.validate_every=-3", "train.steps=0", 
    "data.workers=-1", "data.shuffle=-5", "data.bad_fraction=-1", "data.bad_fraction=.nan", "data.train_split=",
    "data.val_split=nowhere", "data.root=''", "seed=-1", "seed=true", "latent.hidden=-3", "modalities.c.views=0",
    "modalities.c.encoder=''", "modalities.c.encoder=tiny_vectr", "modalities={}", "edges=[]", "edges.0.shards=''",
    "edges.0.shards=[]", "edges.0.between=[a, a]", "edges.0.between=[a]", "edges.1.between=[a, b]", "out=''",
    "loss.scale=.inf", "train.lrr=1", "train.lr", "nonsense", "seed=1 seed=2", "train.lr=[1", "out.x=3",
    "edges.7.weight=1",
    "modalities.c.options={width: .nan}", "modalities.train={encoder: tiny_vector}", "modalities.c.source=nope",
]  # fmt: skip
TWO = [
    "train.accumulate=0", "train.precision=7-mixed", "train.precision=bf16-true", "train.strategy=bananas",
    "train.strategy=deepspeed", "train.bridge_steps=99", "train.bad_fraction=2", "dormant.score=nope",
    "dormant.structure=bananas", "dormant.density=1", "dormant.density=.nan", "dormant.budget=per_row",
    "dormant.options={probes: 0}", "dormant.score=dowser dormant.options={probes: 0}", "dtype=bananas", "dtype=int8",
    "method=bananas", "method=lora options={rank: 0}", "method=lora options={alpha: .nan}", "options={rank: 4}",
    "method=lwf options={temperature: 0}", "method=wise_ft options={alpha: 2}",
    "method=moe_lora options={experts: '4'}", "sensors={.touch: {run: demo/run}}", "sensors.touch.bridge=bananas",
    "sensors.touch.tokens=-1", "sensors={}", "tasks={}",
    "tasks.touch.weight=-1", "max_forgetting=-1", "max_forgetting=1 held_out={}", "base=''", "seed=-1",
    "max_forgetting=1 train.validate_every=99", "calibration_size=0",
    "tasks={a/b: {shards: s, prompt: p, answer: a}}", "out=''",
]  # fmt: skip


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = main(words)
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if not line.startswith(("device: ", "note: "))]
    assert code == 2, told
    assert lines[0].startswith("pairalign: ")
    assert len(lines) == 1, told.err
    assert told.out == ""
    return lines[0]


@pytest.mark.parametrize("text", ONE)
def test_stage_one(
    text: str, align_settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "align.json", Path(align_settings["out"])
    path.write_text(json.dumps(align_settings))
    overrides = text.split(" ") if " seed" in text else [text]
    told = {refused([verb, str(path), *overrides], capsys) for verb in ("plan", "align")}
    assert len(told) == 1, "plan and align say the same"
    assert not out.exists()


@pytest.mark.parametrize("text", TWO)
def test_stage_two(text: str, setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recompose.json"
    path.write_text(json.dumps(values(setup, tmp_path / "run")))
    overrides, found = list[str](), ""
    for word in text.split(" "):  # one that holds blanks goes on
        found = f"{found} {word}" if found else word
        if found.count("{") == found.count("}"):
            overrides, found = [*overrides, found], ""
    verbs = [["recompose"], ["recompose", "--dry-run"], ["plan", "--architecture", str(setup / "base")]]
    told = {refused([*verb, str(path), *overrides], capsys) for verb in verbs}
    assert len(told) == 1, told
    assert not (tmp_path / "run").exists()
