"""What a shell is answered when it asks for completions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pairalign.cli.main import main


def completed(line: str) -> list[str]:
    """What the real command answers a shell on the descriptor that shells read."""
    asking = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    words = f"exec {sys.executable} -m pairalign 8>&1 9>/dev/null 1>/dev/null 2>&1"
    done = subprocess.run(["bash", "-c", words], env={**os.environ, **asking}, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pairalign enc", ["encoders"]),
        ("pairalign encoders check touch_", ["touch_cnn", "touch_vit"]),
        ("pairalign data convert shape", ["shapenet"]),
        ("pairalign data pack a b --dev", []),
        ("pairalign align c.yaml train.clip", ["train.clip="]),
    ],
)
def test_verbs_options_and_names_are_completed(line: str, words: list[str]) -> None:
    pytest.importorskip("argcomplete")
    assert completed(line) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argcomplete")
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert "pairalign" in printed
    assert ("set -lx _ARGCOMPLETE 1" in printed) == (shell == "fish")


def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'pairalign[completion]'" in capsys.readouterr().err
