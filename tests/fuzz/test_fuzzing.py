"""The fuzzer sees what it is there to see: exceptions, hangs, deaths and memory; and it goes on where it stopped."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fuzzing", reason="bench/ is not part of an installed package")

from fuzzing import watch as watching
from fuzzing import worker
from fuzzing.corpus import shrunk
from fuzzing.mailbox import Case, Mailbox
from fuzzing.record import Record
from fuzzing.watch import follow
from fuzzing.worker import judge, memory_now
from pairalign.core.errors import DataError

BEGIN = "import sys, time; from pathlib import Path; from fuzzing.mailbox import Case, Mailbox\n"
BEGIN += "box = Mailbox(Path(sys.argv[1])); box.put(Case('door', b'last words'))\n"


def followed(path: Path, code: str, limit: float = 0.5) -> tuple[str | None, Case]:
    mailbox = Mailbox(path)
    return follow([sys.executable, "-c", BEGIN + code, str(path)], mailbox, limit), mailbox.get()


def test_a_loop_is_a_hang_by_the_time_that_it_computed(tmp_path: Path) -> None:
    wrong, case = followed(tmp_path / "case", "while True: pass")
    assert wrong == "hang: more than 0.5 CPU seconds"
    assert case == Case("door", b"last words")


def test_a_slow_machine_is_no_hang(tmp_path: Path) -> None:
    wrong, _ = followed(tmp_path / "case", "time.sleep(1.5)", limit=0.2)
    assert wrong is None


def test_waiting_for_ever_is_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "ASLEEP", 1.0)
    assert followed(tmp_path / "case", "time.sleep(600)")[0] == "hang: asleep for ever"


def test_a_death_is_told_with_the_case_that_it_died_of(tmp_path: Path) -> None:
    wrong, case = followed(tmp_path / "case", "import os; os.abort()")
    assert wrong == "died: exit code -6"
    assert case.data == b"last words"


def test_memory_counts_though_it_was_given_back_and_each_case_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MEMORY", 100 << 20)
    assert np.ones(400 << 20, np.uint8).all()  # as a test before this one may have had, and given back
    before = memory_now()
    large = judge(lambda data: np.ones(200 << 20, np.uint8).sum() < 0, b"", before)
    assert large.outcome.startswith("memory: more than")
    assert large.peak > 150 << 20  # some of it may have been this process's before
    small = judge(lambda data: None, b"", before)
    assert small.outcome == "read"
    assert small.peak < 100 << 20


def test_an_allocation_that_failed_is_found_behind_the_words_that_explain_it() -> None:
    def read(data: bytes) -> None:
        try:
            np.empty(1 << 60, np.uint8)
        except MemoryError as error:
            raise DataError("damaged.") from error

    assert judge(read, b"", memory_now()).outcome.startswith("memory asked for")


def test_any_other_exception_is_named_by_where_it_came_from() -> None:
    verdict = judge(lambda data: {}["x"], b"", memory_now())
    assert verdict.outcome.startswith("KeyError at test_fuzzing.py:")
    assert judge(lambda data: data, b"", memory_now()).outcome == "read"


def test_an_input_is_shrunk_to_what_breaks_the_reader() -> None:
    def read(data: bytes) -> None:
        assert b"x" not in data

    outcome = judge(read, b"x", memory_now()).outcome
    assert shrunk(read, b"a" * 300 + b"x" + b"b" * 500, outcome) == b"x"


def test_a_reader_that_had_its_seconds_is_not_read_again(tmp_path: Path) -> None:
    out = tmp_path / "texts.json"
    first = watching.watch("texts", 0.2, 20, 0, out)
    assert first.finished
    assert first.cases
    assert watching.watch("texts", 0.2, 20, 0, out) == first == Record.load(out)
    longer = watching.watch("texts", 0.4, 20, 0, out)
    assert longer.cases > first.cases
