"""What a bug report is told: broken packages beside whole ones, and no secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pairalign.cli.main import main
from pairalign.core.secrets import hide_variable
from pairalign.runs.versions import git_commit


def test_what_is_broken_is_said_beside_what_works_and_secrets_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lightning", "transformers", "open_clip", "torch_geometric"):  # importing those takes long
        monkeypatch.setitem(sys.modules, name, sys.modules["json"])
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:8080")
    monkeypatch.setenv("UNRELATED", "private")
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('no such sensor')\n")
    assert main(["env", "--plugin", str(broken), "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert ": cannot be imported: ModuleNotFoundError" in found["packages"]["webdataset"].replace(",", ":")
    assert found["packages"]["torch"].startswith("2.")
    assert "cannot" not in found["packages"]["torch"]
    assert "no such sensor" in found["plugins"]["cannot be loaded"]
    assert any(line.startswith("touch_cnn = pairalign_touch:TouchCNN (pairalign ") for line in found["encoders"])
    assert found["variables"]["HF_TOKEN"] == "***"
    assert found["variables"]["HTTPS_PROXY"] == "http://***@proxy:8080"
    assert not {"secret", "hf_abcdef", "private"} & set(told.out.replace('"', " ").split())


def test_names_that_hold_secrets_are_known_and_others_shown() -> None:
    hidden = ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD")
    assert {hide_variable(name, "abc") for name in hidden} == {"***"}
    assert hide_variable("TOKENIZERS_PARALLELISM", "false") == "false"
    assert hide_variable("HF_TOKEN", "") == ""


def test_the_commit_is_of_the_source_and_not_of_the_project_it_is_used_in(tmp_path: Path) -> None:
    for name in ("own.py", "installed.py"):
        (tmp_path / name).touch()
    me = ["-c", "user.name=me", "-c", "user.email=me@here"]
    for words in (["init", "-q"], ["add", "own.py"], [*me, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert len((git_commit(tmp_path / "own.py") or "").rstrip("+")) == 40
    assert git_commit(tmp_path / "installed.py") is None
