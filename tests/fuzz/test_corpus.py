"""What a reader of other people's files once broke on is now read, or refused in words."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("fuzzing", reason="bench/ is not part of an installed package")

from fuzzing import corpus
from fuzzing.readers import READERS, ROOMS, make_reader
from fuzzing.worker import check_good, judge, memory_now

HANG = 20  # CPU seconds of a case, as in the bench
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_broke_a_reader_breaks_it_no_more(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    doors = make_reader(path.stem.replace("_", " "), tmp_path).doors
    broken = []
    for (door, data), was in corpus.load(path):
        verdict = judge(doors[door].read, data, memory_now())
        if verdict.outcome not in ("read", "refused") or verdict.seconds > HANG:
            broken.append(f"{door}: {verdict.outcome} ({verdict.said}), first found as {was}")
    assert not broken


def test_the_corpus_is_small_and_of_readers_that_there_are() -> None:
    assert sum(path.stat().st_size for path in CORPUS) < 300_000
    assert {path.stem.replace("_", " ") for path in CORPUS} <= set(READERS)


def test_the_table_of_readers_is_what_the_rooms_have() -> None:
    rooms = {name: importlib.import_module(f"fuzzing.readers.{name}").MAKES for name in ROOMS}
    assert {name: tuple(makes) for name, makes in rooms.items()} == ROOMS


@pytest.mark.slow
@pytest.mark.parametrize("name", list(READERS))
def test_a_moment_of_fuzzing_finds_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fuzzing.record import Record
    from fuzzing.worker import fuzz

    monkeypatch.chdir(tmp_path)
    reader, record = make_reader(name, tmp_path), Record(name, seed=1)
    check_good(reader)
    fuzz(reader, record, 0.7, lambda case: None, lambda: None)
    assert record.cases
    assert not record.findings
