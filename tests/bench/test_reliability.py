"""The bench of kills: it sees what differs, what is left behind and what did not end as promised, and the table says
only what was measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from undisturbed import differences

from pairalign.data import write

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not part of an installed package")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "reliability"]:
        del sys.modules[name]


def folder(path: Path, step: int = 4, **changes: Any) -> Path:
    """A run in small."""
    path.mkdir()
    told = {"begun": "now", "finished": "then", "verb": "align", **changes.get("identity", {})}
    (path / "identity.json").write_text(json.dumps(told))
    (path / "metrics.jsonl").write_text(changes.get("metrics", '{"step": 1}\n{"step": 2}\n'))
    weight = torch.arange(3.0) + changes.get("added", 0.0)
    kept = {"global_step": step, "state_dict": {"w": weight}, "loops": {"done": changes.get("loops", 0)}}
    torch.save(kept, path / "last.ckpt")
    return path


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"identity": {"begun": "later", "finished": "later still"}, "loops": 1}, []),
        ({"step": 8, "added": 1.0}, []),
        ({"identity": {"verb": "recompose"}}, ["identity.json: .verb differs"]),
        ({"metrics": '{"step": 1}\n{"step": 1}\n'}, ["metrics.jsonl: .1 differs"]),
        ({"metrics": '{"step": 1}\n'}, ["metrics.jsonl:  has 2 and 1 entries"]),
        ({"added": 1e-6}, ["last.ckpt: .state_dict.w differs"]),
    ],
)
def test_what_differs_is_named(tmp_path: Path, changes: dict[str, Any], found: list[str]) -> None:
    whole = folder(tmp_path / "whole")
    assert differences(whole, folder(tmp_path / "cut", **changes)) == found


def test_files_of_one_side_and_other_bytes_are_named(tmp_path: Path) -> None:
    whole, cut = folder(tmp_path / "whole"), folder(tmp_path / "cut")
    for name, home in (("a", whole), ("b", cut), ("log", cut)):
        (home / name).touch()
    for home in (whole, cut):
        (home / "weights").write_bytes(home.name.encode())
    found = ["a is missing", "b is too much", "weights: other bytes, 5 and 3 of them"]
    assert differences(whole, cut, but=("log",)) == found


def packing(tmp_path: Path, workers: int = 1) -> Any:
    """A case of packing that takes a moment."""
    from reliability.commands import Case

    lines = [json.dumps({"key": str(n), "touch": [n, n + 0.5], "text": f"sample {n}"}) for n in range(120)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    words = ("data", "pack", str(tmp_path / "m.jsonl"), "out", "--shard-samples", "2", "--quiet")
    done = "already holds a finished pack"
    return Case("pack", (*words, "--workers", str(workers)), ("train-", "index.json"), finished=done)


def test_a_trial_of_a_pack_holds_and_one_that_writes_otherwise_after_a_kill_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reliability import kills

    case = packing(tmp_path)
    seconds = kills._undisturbed(tmp_path, case)
    for name in ("KILL", "INT"):
        tried = kills._trial(tmp_path, case, name, f"0 {name}", seconds)
        assert tried["failure"] == ""
        assert tried["struck"]
    whole = write.write_shard

    def other(task: Any, plan: Any) -> Any:
        for row in task.rows:
            row.fields["text"] = "another"
        return whole(task, plan)

    monkeypatch.setattr("pairalign.data.pack.write_shard", other)
    assert "other bytes" in kills._trial(tmp_path, case, "KILL", "0", seconds)["failure"]


def test_a_process_that_stays_is_found_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packing process that does not heed the end of the one that started it."""
    from reliability import groups

    case = packing(tmp_path)
    monkeypatch.setattr(groups, "GONE", 0.3)
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60']); import time; time.sleep(60)"
    monkeypatch.setattr(groups.sys, "executable", _script(tmp_path / "python", code))
    end = groups.run_group(tmp_path / "cut", case.words, 1, signal.SIGKILL, groups.Moment(1.0), 0, cold=True)
    assert end.codes == (-9,)
    assert end.left == ("sleep 60",)


def _script(path: Path, code: str) -> str:
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    return str(path)


def test_the_table_has_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    from reliability.table import write_table

    record = {"section": "kills", "what": "Signals.", "tried": 8, "held": 7, "failures": ["align KILL 3: bytes"]}
    record |= {"settings": {"count": 2}, "seed": 5, "date": "2026-01-02", "versions": {"torch": "2"}, "sent": 11}
    record |= {"rows": [{"case": "align", "KILL": "1 of 2"}]}
    (tmp_path / "kills.json").write_text(json.dumps(record))
    part = {**record, "section": "fuzz", "held": 8, "failures": [], "part": "3 of 26 readers had their time"}
    (tmp_path / "fuzz.json").write_text(json.dumps(part))
    lines = write_table(tmp_path, tmp_path / "page.md").read_text().splitlines()
    assert [line for line in lines if "8 of 8 (100 %); 3 of 26 readers had their time | 5 |" in line]
    assert [line for line in lines if "7 of 8 (87.5 %) | 5 | 2026-01-02 |" in line]
    assert len([line for line in lines if "not measured" in line]) == 5
    for line in ("count: 2; sent: 11.", "| align | 1 of 2 |", "- align KILL 3: bytes", "Versions: torch 2."):
        assert line in lines


def printed(path: Path, body: str) -> str:
    """What pytest prints of a file of tests."""
    (path / "test_it.py").write_text(body)
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *options, "test_it.py"]
    return subprocess.run(command, cwd=path, capture_output=True, text=True).stdout


def test_what_pytest_counted_is_what_held(tmp_path: Path) -> None:
    from reliability.pythons import read, summarise

    about = ("3.12.1", "2.14.1", "5.24.0")
    good = read(about, printed(tmp_path, "def test_a(): pass\ndef test_b(): import pytest; pytest.skip('x')"))
    assert (good.passed, good.broken, good.skipped) == (1, 0, 1)
    bad = read(about, printed(tmp_path, "def test_a(): pass\ndef test_b(): assert 0\ndef test_c(gone): pass"))
    assert (bad.passed, bad.broken, len(bad.failures)) == (1, 2, 2)
    assert "test_it.py::test_b" in bad.failures[0]
    cut = read(about, "........ [ 50%]\ntold to stop at its time limit\n")
    assert (cut.passed, cut.broken) == (0, 1)
    assert read(about, printed(tmp_path, "import nothing_of_this_name")).broken == 1
    told = summarise([good, bad])
    assert (told["tried"], told["held"]) == (4, 2)
