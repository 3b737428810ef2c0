"""A disk that is full wherever a run writes: one line, exit code 2, no signal, nothing half-written left."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import forked

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config

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
