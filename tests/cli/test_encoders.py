"""`pairalign encoders`: listing, showing, checking, and a new sensor from nothing to a trained run in one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pairalign.align.run import read_metrics
from pairalign.cli.encoders import KINDS
from pairalign.cli.main import main
from pairalign.data.pack import pack_pairs


def test_ls_names_every_encoder_and_its_owner(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "ls"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["pointnet2"] == "pairalign_pointcloud:PointNet2 (package pairalign)"
    assert "conftest" in lines["tiny_vector"]


def test_show_prints_signal_options_and_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "show", "series", "channels=6", "unit=N"]) == 0
    printed = capsys.readouterr().out
    for part in ("series, shape (6, 1024)", "unit N, rate 100.0 Hz", "parameters", "option      patch", "licence"):
        assert part in printed


def test_check_prints_each_promise_and_fails_on_a_broken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encoders", "check", "series", "length=64"]) == 0
    assert "BROKEN" not in capsys.readouterr().out
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import torch\nfrom pairalign import Encoder, Features, Signal, register_encoder\n\n"
        "@register_encoder('broken')\nclass Broken(Encoder):\n    signal = Signal('vector', (4,))\n"
        "    def __init__(self):\n        super().__init__(8)\n        self.net = torch.nn.Linear(4, 6)\n"
        "    def forward(self, batch):\n        pooled = self.net(batch)\n"
        "        return Features(pooled[:, None], pooled)\n"
    )
    assert main(["encoders", "check", "broken", "--plugin", str(broken)]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN" in printed
    assert "kept" in printed


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_encoder_keeps_the_contract(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["encoders", "new", "my_glove", "--kind", kind]) == 0
    assert len((tmp_path / "my_glove.py").read_text().splitlines()) <= 25
    assert main(["encoders", "check", "my_glove", "--plugin", "my_glove.py"]) == 0
    assert main(["encoders", "new", "my_glove"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_one_file_brings_a_sensor_from_nothing_to_a_measured_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The story of README, in a folder of its own, by the command line only."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        word = ("soft", "hard")[number % 2]
        force = rng.normal(1 + number % 2, 0.1, (16, 100)).astype(np.float32)
        split = "test" if number > 31 else "train"
        rows.append({"glove": force, "text": f"a {word} thing {number}", "split": split, "label": word})
    pack_pairs(
        rows,
        tmp_path / "shards" / "pairs",
        units={"glove": {"unit": "kPa", "rate": 100.0, "axes": ["taxel", "time"]}},
        progress=False,
    )
    config = {
        "modalities": {
            "glove": {"encoder": "glove"},
            "text": {"encoder": "openclip_text", "options": {"config": "tiny"}},
        },
        "edges": [{"between": ["text", "glove"], "shards": "pairs"}],
        "out": "run",
        "train": {"steps": 100, "batch_size": 8, "warmup": 1, "accelerator": "cpu"},
        "data": {"root": "shards"},
    }
    (tmp_path / "glove.yaml").write_text(json.dumps(config))

    monkeypatch.chdir(tmp_path)
    plugin = ["--plugin", "glove.py"]
    assert main(["encoders", "new", "glove"]) == 0
    assert main(["plan", "glove.yaml", *plugin, "train.steps=3"]) == 0
    assert main(["align", "glove.yaml", *plugin, "--quiet", "train.steps=3"]) == 0
    assert max(line["step"] for line in read_metrics(tmp_path / "run")) == 3
    capsys.readouterr()
    measure = ["evaluate", "run", "--pairs", "shards/pairs", "--quiet"]
    assert main(measure) == 0
    printed = capsys.readouterr().out
    assert "text → glove" in printed
    assert "glove by text" in printed
    assert main([*measure, "--class", "soft", "--class", "hard", "--known", "soft", "--known", "hard"]) == 0
    assert "glove by text, through known classes" in capsys.readouterr().out
    pool = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())["pools"]["pairs/test"]
    score = pool["zero_shot"]["glove by text, through known classes"]
    assert score["classes"] == ["soft", "hard"]
    assert score["overall"]["top1"]["chance"] == 0.5


def test_the_test_that_comes_with_a_new_encoder_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["encoders", "new", "glove"]) == 0
    command = [sys.executable, "-m", "pytest", "-q", "test_glove.py"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_mistakes_are_one_clean_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, part in (
        (["show", "touch_cn"], "Did you mean 'touch_cnn'"),
        (["check", "series", "patch"], "write it as name=value"),
        (["check", "series", "--plugin", str(tmp_path / "no.py")], "is no file"),
        (["new", "My-Glove"], "lower-case Python identifier"),
    ):
        assert main(["encoders", *words]) == 2
        error = capsys.readouterr().err
        assert part in error
        assert error.count("\n") == 1


TURNED = """
import torch
from pairalign import Encoder, Features, Signal, register_encoder

@register_encoder("turned")
class Turned(Encoder):
    "Time first on disk, channels first inside."
    signal = Signal("series", (3, 80), rate=50.0)
    card = {"licence": "MIT", "preprocessing": "turned", "sources": ["me"]}
    def __init__(self, width=8):
        super().__init__(width)
        self.net = torch.nn.Conv1d(3, width, 4)
    def preprocess(self, raw):
        return torch.as_tensor(raw, dtype=torch.float32).T.contiguous()
    def forward(self, batch):
        tokens = self.net(batch).transpose(1, 2)
        return Features(tokens, tokens.mean(1))
"""


def test_check_feeds_real_samples_to_an_encoder_that_takes_another_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, rng = tmp_path / "turned.py", np.random.default_rng(0)
    plugin.write_text(TURNED)
    rows = [{"imu": rng.normal(size=(80, 3)).astype(np.float32), "text": f"number {n}"} for n in range(6)]
    facts = {"rate": 50.0, "axes": ("time", "channel")}
    pack_pairs(rows, tmp_path / "shards", units={"imu": facts}, progress=False)
    words = ["encoders", "check", "turned", "--plugin", str(plugin)]
    assert main(words) == 1
    assert "feed real ones with --pairs SHARDS" in capsys.readouterr().out
    words += ["--pairs", str(tmp_path / "shards")]
    assert main([*words, "width=4"]) == 0  # an option behind the rest
    assert "fed: 5 samples of field 'imu'" in capsys.readouterr().out
    assert main([*words, "--field", "imo"]) == 2
    assert "Did you mean 'imu'" in capsys.readouterr().err
    assert main(["encoders", "check", "tiny_vector", *words[-2:]]) == 2
    assert "no field of kind 'vector', which the encoder reads: imu (series), text (text)" in capsys.readouterr().err
