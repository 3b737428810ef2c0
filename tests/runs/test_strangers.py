"""A run folder from a stranger: its plugins do not run, its names and links touch nothing outside of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairalign.cli.main import main
from pairalign.core.config import AlignConfig
from pairalign.core.errors import CheckpointError, StorageError
from pairalign.runs.folder import RunFolder
from pairalign.runs.lock import hold

PLUGIN = """
from pathlib import Path
Path({mark!r}).touch()
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder

@register_encoder("glove")
class Glove(Encoder):
    signal = Signal("vector", (6,), unit="N")
    def __init__(self):
        super().__init__(8)
        self.net = nn.Linear(6, 8)
    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
"""


@pytest.fixture
def stranger(
    align_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A run that somebody else trained, on another machine, with a plugin that leaves a mark."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIRALIGN_TRUST", str(tmp_path / "theirs"))
    (tmp_path / "glove.py").write_text(PLUGIN.format(mark=str(tmp_path / "ran")))
    align_settings["train"] |= {"steps": 2, "checkpoint_every": 0}
    align_settings["modalities"]["a"] = {"encoder": "glove"}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump({**align_settings, "out": "run"}))
    assert main(["align", "align.yaml", "--plugin", "glove.py", "--quiet"]) == 0
    monkeypatch.setenv("PAIRALIGN_TRUST", str(tmp_path / "mine"))
    for made in ("ran", "glove.py"):
        (tmp_path / made).unlink()
    from pairalign.core import registry

    registry._registered.pop("glove")
    registry._plugins.clear()
    capsys.readouterr()
    return tmp_path / "run"


def evaluate(tmp_path: Path, *words: str) -> int:
    pairs = ["--pairs", str(tmp_path / "shards" / "a-b"), "--split", "val"]
    return main(["evaluate", "run", *pairs, "--quiet", *words])


def test_its_plugin_runs_only_when_it_is_named(
    stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = stranger / "plugins" / "glove" / "glove.py"
    assert evaluate(tmp_path) == 2
    said = capsys.readouterr().err
    assert "which nobody has named on this machine, and a plugin runs code" in said
    assert f"pass --plugin {kept}" in said
    assert main(["align", "align.yaml", "--quiet"]) == 2
    assert not (tmp_path / "ran").exists()
    assert evaluate(tmp_path, "--plugin", str(kept)) == 0
    assert (tmp_path / "ran").exists()
    assert evaluate(tmp_path) == 0  # it was named once


def test_a_plugin_that_was_changed_was_not_named(stranger: Path, tmp_path: Path) -> None:
    kept = stranger / "plugins" / "glove" / "glove.py"
    assert evaluate(tmp_path, "--plugin", str(kept)) == 0
    (tmp_path / "ran").unlink()
    kept.write_text(kept.read_text() + "\n# changed\n")
    assert evaluate(tmp_path) != 0
    assert not (tmp_path / "ran").exists()


def test_a_module_that_it_names_is_not_imported(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = yaml.safe_load((stranger / "config.yaml").read_text())
    (stranger / "config.yaml").write_text(yaml.safe_dump(config | {"plugins": ["evil_module"]}))
    record = json.loads((stranger / "identity.json").read_text())
    (stranger / "identity.json").write_text(json.dumps(record | {"plugins": []}))
    assert evaluate(tmp_path) == 2
    assert "brings the plugin 'evil_module'" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../thesis.tex", "/etc/x.py", "plugins/../../thesis.tex", "plugins/..", "thesis.tex"])
def test_names_in_its_record_stay_where_plugins_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    kept = "plugins/glove/glove.py"
    folder = told(tmp_path / "run", [{"given": "/x/glove.py", "kept": kept, "sha256": "0", "files": [kept]}])
    assert [plugin.name for plugin in folder.plugins()] == ["glove.py"]
    folder = told(tmp_path / "run", [{"given": "/x/glove.py", "kept": kept, "sha256": "0", "files": [kept, name]}])
    with pytest.raises(CheckpointError, match="where no run keeps a plugin"):
        folder.set_aside()
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def told(path: Path, plugins: list[dict[str, Any]]) -> RunFolder:
    """A run folder that holds its record alone."""
    path.mkdir(exist_ok=True)
    (path / "identity.json").write_text(json.dumps({"verb": "align", "plugins": plugins}))
    return RunFolder(path, "align", AlignConfig)


def test_what_lies_behind_a_link_is_not_set_aside(tmp_path: Path) -> None:
    home = tmp_path / "home" / "mine"
    home.mkdir(parents=True)
    for name in ("cache.json", "features.npy"):
        (home / name).write_text("{}")
    folder = told(tmp_path / "run", [])
    (folder.path / "cache").symlink_to(tmp_path / "home")
    assert folder.set_aside() == tmp_path / "run.old-1"
    assert (home / "features.npy").exists()


def test_links_in_its_place_are_not_written_through(
    stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    (stranger / ".lock").unlink()
    (stranger / ".lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(StorageError, match="is a link, which no run makes"), hold(stranger / ".lock", "out"):
        pass
    (stranger / "metrics.jsonl").unlink()
    (stranger / "metrics.jsonl").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(StorageError, match=r"holds metrics.jsonl, a link that leaves it"):
        RunFolder(stranger, "align", AlignConfig).check_owner()
    (tmp_path / "home").mkdir()
    (stranger / "evaluation").symlink_to(tmp_path / "home")
    assert evaluate(tmp_path, "--plugin", str(stranger / "plugins" / "glove" / "glove.py")) == 2
    assert "evaluation' is a link that leaves the run: give --out" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert not list((tmp_path / "home").iterdir())
