"""An interrupt that came while something was deleted ends the command all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pairalign.cli.main import main
from pairalign.processes.unraised import sent_again

PLUGIN = """
import os, signal, time

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)  # Python ignores what a handler raises here
        time.sleep(0.1)

held = [Held()]
held.clear()
for _ in range(300):
    time.sleep(0.02)
"""


def test_ctrl_c_while_something_is_deleted_ends_a_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deletes.py").write_text(PLUGIN)
    hook = sys.unraisablehook
    assert main(["encoders", "check", "--plugin", str(tmp_path / "deletes.py"), "nothing"]) == 130
    assert sys.unraisablehook is hook
    assert capfd.readouterr().err == "pairalign: interrupted\n"


def test_other_exceptions_that_python_ignores_are_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))
    with sent_again():
        Fails()
    assert told == ["in a destructor"]
