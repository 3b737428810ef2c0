"""Files are there whole or not at all: after an error, a kill and a full disk; and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file as library_save
from small_disk import small_disk

from pairalign.core.errors import StorageError
from pairalign.files import append_line, partial_of, remove_leftovers, replacing, save_tensors, write_json, write_text

SOURCE = Path(__file__).parents[1] / "src"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")

    def fail(partial: Path) -> None:
        partial.write_text("ne")
        assert (tmp_path / "a").read_text() == "old"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as partial:
        fail(partial)
    assert listing(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    write_json(tmp_path / "a", {"b": 1})
    assert (tmp_path / "a").read_text() == '{\n "b": 1\n}\n'


def test_a_folder_appears_whole_also_in_place_of_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    with replacing(tmp_path / "pack") as partial:
        partial.mkdir()
        (partial / "one").write_text("1")
    assert listing(tmp_path) == ["pack"]
    with pytest.raises(StorageError, match="not empty"), replacing(tmp_path / "pack") as partial:
        partial.mkdir()
    assert listing(tmp_path / "pack") == ["one"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pairalign.files import replacing\n"
        "with replacing('cache') as partial:\n    partial.mkdir(); (partial / 'half').write_text('x')\n"
        "    with replacing('b') as other:\n        other.write_text('y'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert python(code, tmp_path).returncode == -signal.SIGKILL
    assert len(listing(tmp_path)) == 2
    living = tmp_path / partial_of(tmp_path / "b").name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    living.write_text("a neighbour's")
    write_text(tmp_path / "b", "mine")
    assert [name.partition(".partial")[0] for name in listing(tmp_path)] == [".b", ".cache", "b"]
    remove_leftovers(tmp_path)
    assert listing(tmp_path) == [living.name, "b"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's list of processes")
def test_what_a_process_left_goes_before_its_parent_collects_it(tmp_path: Path) -> None:
    """As in a container, whose first process is in no hurry to collect those that lost their parent."""
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    left = partial_of(tmp_path / "shard.tar")
    left = left.with_name(left.name.replace(str(os.getpid()), str(ended)))
    left.touch()
    remove_leftovers(tmp_path)
    os.waitpid(ended, 0)
    assert not left.exists()


def test_the_leftover_of_another_machine_is_believed_for_a_day(tmp_path: Path) -> None:
    far = tmp_path / ".a.partial-1-elsewhere"
    far.write_text("x")
    remove_leftovers(tmp_path)
    assert far.exists()
    os.utime(far, (0, 0))
    remove_leftovers(tmp_path)
    assert not far.exists()


@pytest.mark.parametrize("how", ["write_text('a', 'x' * 5000)", "torch"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, how: str) -> None:
    """A process that may write 1,000 bytes to a file meets what a full disk is to the library."""
    body = {
        "torch": "import torch\nfrom safetensors.torch import save_file\nlimit()\n"
        "with replacing('a') as p: save_file({'x': torch.zeros(5000)}, p)",
    }.get(how, f"limit()\n{how}")
    code = (
        "import resource\nfrom pairalign.core.errors import StorageError\n"
        "from pairalign.files import replacing, write_text\n"
        "def limit(): resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try:\n    {body.replace(chr(10), chr(10) + '    ')}\n"
        "except StorageError as error: print(error)\n"
    )
    done = python(code, tmp_path)
    assert done.stdout == "'a': the disk is full: free space and run the same command again.\n", done.stderr
    assert listing(tmp_path) == []


def test_a_line_that_a_full_disk_cuts_off_is_taken_back(tmp_path: Path) -> None:
    code = (
        "import resource\nfrom pairalign.files import append_line\n"
        "append_line('m', 'first')\nresource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\nappend_line('m', 'second')\n"
    )
    done = python(code, tmp_path)
    assert "StorageError: 'm': the disk is full" in done.stderr
    assert (tmp_path / "m").read_text() == "first\n"
    with pytest.raises(StorageError, match="the disk is full"):
        append_line("/dev/full", "x")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/a' cannot be written \((Not a directory|File exists)\): check"):
        write_text(tmp_path / "file" / "a", "x")


def test_nobody_else_makes_temporary_names_or_renames() -> None:
    root = SOURCE.parent
    texts = {path: path.read_text() for folder in ("src", "encoders") for path in (root / folder).rglob("*.py")}
    made = re.compile(r"\.partial[-{'\"]|os\.replace\(|os\.rename\(|partial\.(replace|rename)\(")
    found = {path.relative_to(root).as_posix() for path, text in texts.items() if made.search(text)}
    found.remove("src/pairalign/data/remote/cache.py")  # its file is called by what it holds, known once it is written
    found.remove("src/pairalign/data/convert/spool.py")  # a file without a name, which goes with its process
    assert found == {"src/pairalign/files.py"}


def test_what_a_killed_process_left_of_tensors_goes_with_the_next_ones(tmp_path: Path) -> None:
    """safetensors writes under a random name first, beside what it is asked to write."""
    code = (
        "import os, signal, torch\nimport safetensors.torch as library\nfrom pathlib import Path\n"
        "from pairalign.files import save_tensors\n"
        "def cut(tensors, path, metadata):\n"
        "    Path(path).with_name('.tmpXyZ123').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "library.save_file = cut\nsave_tensors('a', {'x': torch.zeros(3)})\n"
    )
    assert python(code, tmp_path).returncode == -signal.SIGKILL
    assert len(listing(tmp_path)) == 1
    save_tensors(tmp_path / "a", {"x": torch.ones(3)}, {"told": "yes"})
    assert listing(tmp_path) == ["a"]
    assert torch.equal(load_file(tmp_path / "a")["x"], torch.ones(3))


def test_tensors_are_written_by_one_owner() -> None:
    sources = {path: path.read_text() for path in SOURCE.rglob("*.py")}
    assert [path.name for path, text in sources.items() if "import save_file" in text] == ["files.py"]


def test_a_folder_that_is_read_only_is_named_whatever_writes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        said = r"/disk/a' cannot be written \(Read-only file system\)"
        with pytest.raises(StorageError, match=said):
            save_tensors(disk / "a", {"x": torch.zeros(3)})
        with pytest.raises(StorageError, match=said), replacing(disk / "a") as partial:
            library_save({"x": torch.zeros(3)}, partial)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_quota_and_a_limit_of_size_are_a_full_disk(tmp_path: Path, number: int) -> None:
    """As Python says it, and as libraries written in Rust do, which keep the number in their text alone."""
    for refusal in (OSError(number, os.strerror(number)), RuntimeError(f"I/O error: refused (os error {number})")):
        full = pytest.raises(StorageError, match="/a': the disk is full")
        with full, replacing(tmp_path / "a") as partial:
            partial.write_text("half")
            raise refusal
    assert listing(tmp_path) == []
