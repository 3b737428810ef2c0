"""metrics.jsonl, cut anywhere, is whole lines again when a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pairalign.align.metrics import MetricsLength, forget_after, read_metrics
from pairalign.files import append_line

LINES = [{"step": step, "train/loss": 1.5 / step} for step in (1, 2, 3)]
WHOLE = "".join(json.dumps(line) + "\n" for line in LINES).encode()


def go_on(path: Path, known: int | None) -> None:
    """What happens at the start of a run that goes on from a checkpoint which knew so many bytes."""
    length = MetricsLength(path)
    if known is not None:
        length.load_state_dict({"bytes": known})
    trainer: Any = SimpleNamespace(is_global_zero=True, ckpt_path="last.ckpt", global_step=2)
    length.on_fit_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    append_line(path, json.dumps({"step": 4}))


@pytest.mark.parametrize("known", [len(WHOLE) - len(json.dumps(LINES[-1])) - 1, len(WHOLE), None])
def test_a_run_goes_on_after_any_cut(tmp_path: Path, known: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    for cut in range(len(WHOLE) + 1):
        for tail in (b"", b"\0" * 9, b'{"step": 9, \xc3'):
            path.write_bytes(WHOLE[:cut] + tail)
            go_on(path, known)
            kept = [json.loads(line) for line in path.read_text().splitlines()]
            seen = WHOLE[: cut if known is None else min(cut, known)].count(b"\n")
            assert kept == [*LINES[: seen if known else min(seen, 2)], {"step": 4}]
    said = capsys.readouterr().err
    assert ("is gone" in said) == (known is not None)  # what a checkpoint knew of, and the disk lost


def test_a_damaged_line_is_left_out_of_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "x": 2}\n{"step": 2, "x{"step": 3}\n\0\0\xff\n{"step": 4}\n{"step": 5')
    assert read_metrics(tmp_path) == [{"step": 1, "x": 2}, {"step": 4}]
    forget_after(path, 9)
    assert path.read_bytes() == b'{"step": 1, "x": 2}\n{"step": 4}\n'
