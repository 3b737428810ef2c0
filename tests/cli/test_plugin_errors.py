"""An error in an encoder's own file is one line that names that file and the line, whichever verb meets it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairalign.cli.main import main

PLUGIN = """
import os
import torch
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder
from shaky_net import Net

def fail(place):
    if os.environ.get("SHAKY") == place:
        return {}[place]

fail("import")

@register_encoder("shaky")
class Shaky(Encoder):
    "Six numbers."
    signal = Signal("vector", (6,), unit="N")
    card = {"licence": "none", "preprocessing": "none", "sources": ["made up"]}

    def __init__(self, width=8):
        super().__init__(width)
        fail("init")
        self.net = Net(width)

    def preprocess(self, raw):
        fail("preprocess")
        return super().preprocess(raw)

    def forward(self, batch):
        if os.environ.get("SHAKY") == "forward":
            batch = batch[:, :5]
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
"""
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(6, width)

    def forward(self, batch):
        return self.layer(batch)
"""
LINES = {
    "import": ("shaky.py", 10, "KeyError: 'import'"),
    "init": ("shaky.py", 10, "KeyError: 'init'"),
    "preprocess": ("shaky.py", 10, "KeyError: 'preprocess'"),
    "forward": ("shaky_net.py", 10, "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "sensor").mkdir()
    (tmp_path / "sensor" / "shaky_net.py").write_text(NET)
    (tmp_path / "sensor" / "shaky.py").write_text(PLUGIN)
    return tmp_path / "sensor" / "shaky.py"


@pytest.fixture
def config(align_settings: dict[str, Any], tmp_path: Path, plugin: Path) -> str:
    align_settings["modalities"]["a"]["encoder"] = "shaky"
    align_settings["plugins"] = [str(plugin)]
    align_settings["train"] |= {"steps": 2, "validate_every": 0}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    return str(tmp_path / "c.yaml")


@pytest.fixture(autouse=True)
def forget_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own `shaky_net`; one process has only one module of a name."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("shaky_net", None)


def only_line(text: str) -> str:
    """The error, which stands alone but for where the verb computes."""
    (line,) = (line for line in text.splitlines() if not line.startswith("device:"))
    assert line.startswith("pairalign: ")
    return line


def line_of(place: str, plugin: Path, text: str) -> None:
    file, number, reason = LINES[place]
    text = only_line(text)
    assert f"{plugin.with_name(file)}, line {number}" in text
    assert reason in text


@pytest.mark.parametrize("place", list(LINES))
@pytest.mark.parametrize("words", [["plan", "CONFIG"], ["align", "CONFIG", "--quiet"]])
def test_plan_and_align_name_the_line(
    config: str, plugin: Path, words: list[str], place: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SHAKY", place)
    assert main([word.replace("CONFIG", config) for word in words]) == 2
    line_of(place, plugin, capsys.readouterr().err)


def test_a_loader_worker_names_it_too(
    config: str, plugin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAKY", "preprocess")
    assert main(["align", config, "--quiet", "data.workers=1"]) == 2
    line_of("preprocess", plugin, capsys.readouterr().err)


@pytest.mark.parametrize("place", ["import", "init"])
def test_check_names_the_line_of_an_encoder_that_cannot_be_made(
    plugin: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAKY", place)
    assert main(["encoders", "check", "shaky", "--plugin", str(plugin)]) == 2
    line_of(place, plugin, capsys.readouterr().err)


@pytest.mark.parametrize("place", ["preprocess", "forward"])
def test_check_names_the_line_of_a_broken_promise(
    plugin: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAKY", place)
    assert main(["encoders", "check", "shaky", "--plugin", str(plugin)]) == 1
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("BROKEN"))
    file, number, reason = LINES[place]
    assert reason in told
    assert f"({plugin.with_name(file)}, line {number})" in told


@pytest.mark.parametrize("place", ["init", "preprocess", "forward"])
def test_evaluate_names_the_line(
    config: str, plugin: Path, place: str, align_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["align", config, "--quiet"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("SHAKY", place)
    pairs = os.path.join(align_settings["data"]["root"], "a-b")
    assert main(["evaluate", align_settings["out"], "--pairs", pairs, "--split", "val", "--quiet"]) == 2
    error = only_line(capsys.readouterr().err)
    assert LINES[place][2] in error
    assert f"{LINES[place][0]}, line {LINES[place][1]}" in error  # of the run's own copy, or of the original


def test_a_syntax_error_names_its_line(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(PLUGIN.replace("def fail(place):", "def fail(place:"))
    assert main(["encoders", "ls", "--plugin", str(plugin)]) == 2
    error = capsys.readouterr().err
    assert f"({plugin}, line 8)" in error
    assert error.count("\n") == 1


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, plugin: Path) -> None:
    monkeypatch.setattr("pairalign.cli.encoders.encoder_entries", lambda: {}[0])
    with pytest.raises(KeyError):
        main(["encoders", "ls", "--plugin", str(plugin)])


@pytest.mark.parametrize("name", ["yaml", "time", "json"])
def test_a_neighbour_with_a_name_of_others_is_refused(
    plugin: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (plugin.parent / f"{name}.py").write_text("x = 1")
    plugin.with_name("shaky_net.py").write_text(f"import {name}\n{NET}")
    assert main(["encoders", "ls", "--plugin", str(plugin)]) == 2
    error = capsys.readouterr().err
    assert f"imports {name!r}, which lies beside it, but Python finds that name in " in error
    assert f"give '{name}.py' another name" in error


def test_two_plugins_with_neighbours_of_one_name_each_get_their_own(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "other" / "second.py"
    second.parent.mkdir()
    second.with_name("shaky_net.py").write_text(f"# one line more\n{NET}")
    second.write_text(PLUGIN.replace('"shaky"', '"second"').replace("Shaky", "Second"))
    monkeypatch.setenv("SHAKY", "forward")
    both = ["--plugin", str(plugin), "--plugin", str(second)]
    for name, file, line in (("shaky", plugin, 10), ("second", second, 11)):
        assert main(["encoders", "check", name, *both]) == 1
        assert f"({file.with_name('shaky_net.py')}, line {line})" in capsys.readouterr().out
