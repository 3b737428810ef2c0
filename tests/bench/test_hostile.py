"""The watch of section `hostile` sees what it is there for: programs, addresses, and files outside, read or written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not part of an installed package")
DEEDS = {
    "started gs": "import subprocess; subprocess.run(['gs', '--x'])",
    "started": "import os; os.system('gs --x')",
    "connected to ('127.0.0.1', 9)": "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); "
    "socket.socket().connect(('127.0.0.1', 9))",
    "opened": "open(PRIVATE + '/secret.txt')",
    "read secret.txt of the user": "import ctypes as c; l = c.CDLL(None); "
    "l.read(l.open((PRIVATE + '/secret.txt').encode(), 0), c.create_string_buffer(9), 9)",
    "wrote": "open(PRIVATE + '/../outside', 'w')",
    "os.remove of": "import os; os.remove(PRIVATE + '/secret.txt')",
    "changed the user's files": "import os; os.rename(PRIVATE + '/secret.txt', 'here')",
}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCH))
    from reliability import watched

    yield watched
    for name in [name for name in sys.modules if name.partition(".")[0] == "reliability"]:
        del sys.modules[name]


def seen(watch: Any, tmp_path: Path, code: str) -> Any:
    home, private = tmp_path / "home", tmp_path / "private"
    for folder in (home, private):
        folder.mkdir()
    (private / "secret.txt").write_text("top secret")
    (home / "plugin.py").write_text(f"PRIVATE = {str(private)!r}\n{code}\n")
    return watch.watched(["encoders", "ls", "--plugin", "plugin.py"], home, private, {"TMPDIR": str(home)})


@pytest.mark.parametrize("deed", DEEDS)
def test_a_deed_is_seen(watch: Any, tmp_path: Path, deed: str) -> None:
    if deed.startswith("read") and not watch.keeps_access_times(tmp_path):
        pytest.skip("this file system keeps no times of access")
    found = seen(watch, tmp_path, DEEDS[deed])
    assert any(one.startswith(deed) for one in found.did), (found.did, found.said)


def test_what_does_nothing_wrong_is_told_so(watch: Any, tmp_path: Path) -> None:
    found = seen(watch, tmp_path, "open('mine', 'w').close(); x = bytearray(1 << 28)")
    assert (found.code, found.did) == (0, [])
    assert 0.25 < found.peak < 3
