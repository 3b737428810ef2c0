"""Processes that are started, meet, fail, die and are stopped: all end, with one message, and the right exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pairalign.core.errors import ConfigError
from pairalign.processes import launch

SCRIPT = str(Path(__file__).parents[1] / "support" / "launched.py")
LAUNCHERS = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "SLURM_NTASKS",
    "JSM_NAMESPACE_SIZE",
)


class Started:
    """`launched.py WHAT` as two processes, after both said that they are there."""

    def __init__(self, what: str) -> None:
        options: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, SCRIPT, what], **options)  # type: ignore[call-overload]
        lines = sorted(self.process.stdout.readline() for _ in range(2))
        assert all(line.startswith("ready") for line in lines), (lines, self.process.communicate())
        self.pids = [int(line.split()[2]) for line in lines]

    def end(self) -> tuple[int, list[str]]:
        """Exit code and the lines that pairalign printed as errors, once all processes have closed their output."""
        _, errors = self.process.communicate(timeout=60)
        assert "Traceback" not in errors, errors
        return self.process.returncode, re.findall(r"^pairalign: .*$", errors, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["one fails", "all fail"])
def test_an_error_ends_all_processes_and_is_said_once(what: str) -> None:
    assert Started(what).end() == (2, ["pairalign: train.lr=-1: give at least 0."])


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
@pytest.mark.parametrize("waiting", ["sleep", "collective"])
def test_the_others_end_and_name_the_process_that_was_killed(victim: int, waiting: str) -> None:
    started = Started(waiting)
    os.kill(started.pids[victim], signal.SIGKILL)
    code, (line,) = started.end()
    assert code == (-signal.SIGKILL if victim == 0 else 70)
    assert f"process {victim} of 2" in line
    assert f"process id {started.pids[victim]}" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "waiting", "told"),
    [
        (signal.SIGTERM, "collective", 0),  # hangs where Python hears nothing
        (signal.SIGUSR1, "sleep", 1),
        (signal.SIGINT, "collective", 1),
    ],
)
def test_a_signal_to_any_process_ends_all_with_its_code(number: int, waiting: str, told: int) -> None:
    started = Started(waiting)
    os.kill(started.pids[told], number)
    code, (line,) = started.end()
    assert code == 128 + number
    assert f"stopped by {signal.Signals(number).name}; no checkpoint was written yet" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM; nothing was begun"),
        (signal.SIGINT, 130, "stopped by SIGINT; nothing was begun"),
        (signal.SIGKILL, 70, "process 1 ended with code -9 before it joined"),
    ],
)
def test_a_process_that_ends_before_all_have_met_ends_the_others(number: int, code: int, told: str) -> None:
    environment = {**os.environ, "STOPPED_AT_START": str(int(number))}
    done = subprocess.run([sys.executable, SCRIPT, "sums"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert f"pairalign: {told}" in done.stderr


@pytest.mark.slow
def test_sums_are_over_all_processes() -> None:
    process = subprocess.run([sys.executable, SCRIPT, "sums"], capture_output=True, text=True, timeout=60, check=True)
    for line in ("[3.0, 4.0] [2.0] [1.0, 2.0]", "from 0"):
        assert process.stdout.splitlines().count(line) == 2, process.stdout


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that no launcher has touched."""
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2", "RANK": "1"}, "RANK=1, WORLD_SIZE=2: set by a launcher that pairalign does not know"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2: mpirun .* needs the package mpi4py"),
        ({"PMI_SIZE": "4"}, "PMI_SIZE=4: mpirun"),
        ({"JSM_NAMESPACE_SIZE": "2"}, r"JSM_NAMESPACE_SIZE=2: jsrun started .* without LSF's own variables"),
        ({"FLUX_JOB_SIZE": "2"}, "FLUX_JOB_SIZE=2: flux run started"),
    ],
)
def test_a_launcher_that_nobody_knows_is_refused(
    nobody: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        nobody.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        launch.find_environment()


def test_the_launcher_is_asked_of_lightning(nobody: pytest.MonkeyPatch) -> None:
    assert launch.find_environment()[1] == "train.devices"
    job = {"NTASKS": "4", "PROCID": "3", "LOCALID": "1", "NODEID": "1", "NNODES": "2", "JOB_NAME": "train"}
    for name, value in job.items():
        nobody.setenv(f"SLURM_{name}", value)
    environment, name = launch.find_environment()
    assert (name, environment.world_size(), environment.global_rank(), environment.node_rank()) == ("SLURM", 4, 3, 1)


@pytest.mark.parametrize(
    ("hosts", "reason"), [("login\nelsewhere\n", "KeyError"), ("login\n", "IndexError"), (None, "FileNotFoundError")]
)
def test_a_file_of_hosts_that_does_not_fit_is_refused(
    nobody: pytest.MonkeyPatch, tmp_path: Path, hosts: str | None, reason: str
) -> None:
    if hosts is not None:
        (tmp_path / "hosts").write_text(hosts)
    job = {"LSB_JOBID": "77", "LSB_DJOB_RANKFILE": str(tmp_path / "hosts"), "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    job |= {f"JSM_NAMESPACE_{name}": value for name, value in (("SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1"))}
    for name, value in job.items():
        nobody.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"LSF started this process, and what it says .*{reason}"):
        launch.find_environment()
