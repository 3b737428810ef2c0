"""A disk that is full wherever a run writes: one line, exit code 2, no signal, nothing half-written left."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from forked import forked
from small_disk import PAGE, fill, small_disk
from stage_two import short_run

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import StorageError
from pairalign.evaluate.generation.lines import appended, read_lines

Settings = dict[str, Any]


def limited(home: Path, words: list[str], bytes_left: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of a command that can write no file longer than `bytes_left`."""
    import pairalign.cli.main as cli

    main = cli.main

    def run(argv: list[str]) -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        return main(argv)

    with monkeypatch.context() as patch:
        patch.setattr("forked.main", run)
        return forked(home, words)


@pytest.mark.parametrize(
    ("bytes_left", "changes", "named"),
    [
        (20_000, {"views": 40}, "cache/b-a-b-train-"),
        pytest.param(60_000, {}, "last.ckpt", marks=pytest.mark.slow),
        pytest.param(1_500, {"tune": "all"}, "identity.json", marks=pytest.mark.slow),
    ],
)
def test_align_on_a_full_disk(
    align_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bytes_left: int,
    changes: Settings,
    named: str,
) -> None:
    align_settings["modalities"]["b"] |= {"tune": "none", **changes}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump({**align_settings, "out": "run"}))
    words = ["align", str(tmp_path / "align.yaml"), "--quiet"]
    code = limited(tmp_path / "home", words, bytes_left, monkeypatch)
    said = (tmp_path / "home" / "log").read_text()
    assert code == 2, said
    assert named in said
    assert ": the disk is full: free space and run the same command again." in said
    assert "Traceback" not in said
    assert not [path for path in (tmp_path / "home").rglob("*") if "partial" in path.name]
    assert forked(tmp_path / "home", words) == 0


@pytest.mark.parametrize(
    ("bytes_left", "named"), [(1_500, "metrics.json"), pytest.param(20_000, "report.html", marks=pytest.mark.slow)]
)
def test_evaluate_on_a_full_disk(
    align_settings: Settings,
    pair_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bytes_left: int,
    named: str,
) -> None:
    align_settings["train"] |= {"steps": 1, "validate_every": 0}
    align_pairs(load_config(AlignConfig, align_settings), progress=False)
    words = ["evaluate", align_settings["out"], "--pairs", str(pair_folder / "a-b"), "--split", "val", "--quiet"]
    words += ["--out", "found", "--limit", "8"]
    code = limited(tmp_path / "home", words, bytes_left, monkeypatch)
    said = (tmp_path / "home" / "log").read_text()
    assert code == 2, said
    assert f"pairalign: 'found/{named}': the disk is full: free space and run the same command again." in said
    assert "Traceback" not in said
    assert not [path for path in (tmp_path / "home").rglob("*") if "partial" in path.name]
    assert forked(tmp_path / "home", words) == 0


def test_nothing_that_a_run_needs_goes_through_the_temporary_folder(
    align_settings: Settings, setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Checkpoints, locks of caches, what the base is told apart by: `out` has room, and the system's folder none."""
    align_settings["modalities"]["b"]["tune"] = "none"
    (tmp_path / "no room").write_text("neither for a file nor for a folder")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no room" / "at all"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "no room" / "at all"))
    assert (align_pairs(load_config(AlignConfig, align_settings), progress=False).folder / "last.ckpt").exists()
    train = {"steps": 2, "batch_size": 8, "checkpoint_every": 1, "accelerator": "cpu"}
    run = short_run(setup, tmp_path / "two", cache=str(tmp_path / "cache"), train=train)
    assert (run.folder / "last.ckpt").exists()
    assert len(list((tmp_path / "cache").glob("base-*.safetensors"))) == 2
    assert "measured anew" not in capsys.readouterr().err


def test_a_checkpoint_on_a_full_disk_is_refused_by_name_and_the_one_before_it_stays(tmp_path: Path) -> None:
    """Whatever byte finds no room: torch keeps no reason, and ends the process where its last bytes are refused."""
    from pairalign.align.checkpoint import InPlaceIO
    from pairalign.files import replacing

    told = {"weights": torch.arange(3000.0), "step": 3}
    with small_disk(tmp_path / "disk", 16 * PAGE) as disk:
        with replacing(disk / "last.ckpt") as partial:
            InPlaceIO().save_checkpoint(told, partial)
        before = (disk / "last.ckpt").read_bytes()
        for pages in range(1 + len(before) // PAGE):
            filler = fill(disk, left=pages * PAGE)
            full = pytest.raises(StorageError, match=r"last\.ckpt': the disk is full")
            with full, replacing(disk / "last.ckpt") as partial:
                InPlaceIO().save_checkpoint(told, partial)
            assert sorted(path.name for path in disk.iterdir()) == ["filler", "last.ckpt"]
            assert (disk / "last.ckpt").read_bytes() == before
            filler.unlink()
        assert torch.equal(torch.load(disk / "last.ckpt", weights_only=True)["weights"], told["weights"])


def test_a_list_that_is_being_converted_names_its_folder(tmp_path: Path) -> None:
    from pairalign.data.convert.spool import Spool

    rows = [{"key": n, "text": "x" * 300} for n in range(100)]
    with small_disk(tmp_path / "disk", 16 * PAGE) as disk:
        for pages in (0, 1, 3, 7):
            filler = fill(disk, left=pages * PAGE)
            with pytest.raises(StorageError, match=r"/disk': the disk is full"):
                Spool(rows, disk, None)
            filler.unlink()
        assert list(Spool(rows, disk, None)) == rows
        with pytest.raises(FileNotFoundError, match="the data set's"):  # not the list's
            Spool(map(_gone, rows), disk, None)


def _gone(row: Settings) -> Settings:
    raise FileNotFoundError(2, "the data set's", "photo.jpg")


def test_an_answer_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    answers = [{"key": str(n), "answer": "soft " * 100} for n in range(40)]
    with small_disk(tmp_path / "disk", 16 * PAGE) as disk:
        path = disk / "said" / "answers.jsonl"
        filler = fill(disk, left=2 * PAGE)
        full = pytest.raises(StorageError, match=r"answers\.jsonl': the disk is full")
        with full, appended(path) as add:
            for answer in answers:
                add(answer)
        kept = list(read_lines(path, ("key",)))
        assert path.read_bytes() == b"".join(json.dumps(answer).encode() + b"\n" for answer in answers[: len(kept)])
        assert 0 < len(kept) < len(answers)
        filler.unlink()
        with appended(path) as add:
            for answer in answers[len(kept) :]:
                add(answer)
        assert list(read_lines(path, ("key",))) == answers
