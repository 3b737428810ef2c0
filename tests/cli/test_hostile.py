"""Settings that make no sense, given to the real command line: each is one clean line, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stage_two import values

from pairalign.cli.main import main

SAID = ("device:", "note:", "Loading weights")  # what may stand on stderr before the error

STAGE_ONE = [
    "train.precision=7-mixed", "train.strategy=nope", "train.accelerator=quantum", "train.accelerator=cuda:77",
    "modalities.a.tune=99", "modalities.a.tune=some", "modalities.a.encoder=tiny_vectr", "modalities.a.head=anchor",
    "modalities.a.options={size: many}", "modalities.a.options={size: -1}", "modalities.a.options={sise: 6}",
    "modalities.a.options=null", "modalities.9x={encoder: tiny_vector}", "modalities={}", "edges=[]", "edges=",
    "edges.0.between=[a,a]", "edges.0.between=[a,zz]", "edges.0.between=[a,b,c]", "edges.0.between=ab",
    "edges.7.shards=x", "edges.x.shards=x", "edges.0.shards=/nowhere", "data.root=5", "data.train_split=trian",
    "data.val_split=vla", "train.batch_size=1", "train.lr=[1", "train.lr=1e-3e", "train.lr={}", "train=null", "train=5",
    "loss.scale_min=200", "out=", "out=/dev/null/x", "cache=/dev/null/x",
    "plugins=[/nowhere.py]", "plugins=/nowhere.py", "modalities.a.start=/nowhere", "trian.lr=1", ".=1", "a..b=1", "=",
    "train.lr=\x00", "train.lr=&a [*a]", "seed=!!python/name:os.system",
]  # fmt: skip
STAGE_TWO = [
    "base=/nowhere", "base=5", "base=.", "sensors={}", "tasks={}", "tasks=null", "sensors.touch=null",
    "sensors.touch.run=/nowhere", "sensors.touch.modality=tuch", "sensors.touch.bridge=nope", "method=nope",
    "sensors.touch.bridge=recomposition", "options={rank: 3}", "options=[1]", "dormant.structure=9:4",
    "dormant.structure=nope", "dormant.score=nope", "dormant.options={probe: 1e-3}", "dormant.budget=global2",
    "dormant.target_modules=nope", "dormant.layers_to_transform=[99]", "dormant.density=0.0000001", "scores=/nowhere",
    "scores=.", "max_forgetting=.inf", "tasks.touch.prompt={", "tasks.touch.prompt='{tuch}'", "tasks.touch.prompt=5",
    "tasks.touch.answer='{touch}'", "tasks.touch.shards=/nowhere", "tasks.touch.split=trian", "root=/nowhere",
    "tasks.touch.signals={touch: tuch}", "calibration_size=100000", "calibration={}", "dtype=float17",
    "train.precision=bf16-true2", "train.strategy=fsdp9", "train.accelerator=quantum", "train.batch_size=1",
    "out=/dev/null/x", "held_out.image.limit=0", "plugins=[x y]", "train.nodes=0", "train.lr=true",
]  # fmt: skip


def refused(words: list[str], override: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*words, override]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith(SAID)]
    assert len(lines) == 1, lines
    assert lines[0].startswith("pairalign: ")
    assert "Traceback" not in lines[0]
    path, _, value = override.partition("=")
    named = [*(word[:4] for word in path.split(".") if word), value, override]  # "edges" is also an edge
    assert any(word in lines[0] for word in named if word), lines[0]


@pytest.mark.parametrize("override", STAGE_ONE)
def test_stage_one_refuses_it(
    align_settings: dict[str, Any], tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    refused(["align", str(tmp_path / "c.yaml"), "--quiet"], override, capsys)
    assert not (Path(align_settings["out"]) / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("out=/proc/x/y", "'/proc/x/y' cannot be written (No such file or directory)"),
        ("latent.shared=1e12", "give a whole number from 1 to 65536"),
    ],
)
def test_what_the_system_refuses_is_one_line_too(
    align_settings: dict[str, Any], tmp_path: Path, override: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    assert main(["align", str(tmp_path / "c.yaml"), "--quiet", override]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("pairalign: ")
    assert told in last


def test_memory_that_is_not_there_is_one_line(
    align_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    monkeypatch.setattr("pairalign.align.run.build_aligner", lambda config: torch.empty(10**15))
    assert main(["align", str(tmp_path / "c.yaml"), "--quiet"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("pairalign: ")
    assert "allocate memory" in last
    assert "smaller sizes, or more memory" in last


@pytest.mark.parametrize("override", STAGE_TWO)
def test_stage_two_refuses_it(setup: Path, tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values(setup, tmp_path / "out")))
    refused(["recompose", str(tmp_path / "c.yaml"), "--dry-run"], override, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("evaluate RUN --pairs none --limit -3", "limit=-3: give a whole number of at least 2"),
        ("evaluate RUN --pairs none --limit 0", "limit=0: give a whole number of at least 2"),
        ("plan TWO --tflops nan", "--tflops nan: give a speed above 0"),
        ("plan ONE train.lr=[", "override 'train.lr=['"),
        ("recompose ONE", "is of stage one (edges, modalities): `pairalign align` reads it"),
        ("align TWO", "is of stage two (base, sensors): `pairalign recompose` reads it"),
        ("demo --out FILE/x", "is a file: give --out (`out`) another folder"),
        ("encoders ls --plugin .", "plugin '.' is neither file nor module"),
        ("encoders check tiny_vector size=[", "option 'size=['"),
        ("encoders check tiny_vector size=-1", "with options {'size': -1}: RuntimeError"),
    ],
)
def test_every_verb_refuses_in_one_line(
    align_settings: dict[str, Any], tmp_path: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(align_settings))
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(values(tmp_path, tmp_path / "out")))
    (tmp_path / "file").touch()
    for name, path in (("ONE", "one.yaml"), ("TWO", "two.yaml"), ("FILE", "file"), ("RUN", "run")):
        words = " ".join(word.replace(name, str(tmp_path / path)) for word in words.split())
    assert main(words.split()) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith(SAID))
    assert line.startswith("pairalign: ")
    assert told in line
