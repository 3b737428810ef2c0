"""What a reader of other people's files once broke on is now read, or refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fuzzing", reason="bench/ is not part of an installed package")

from fuzzing import corpus
from fuzzing.readers import READERS
from fuzzing.worker import check_good, judge, peak_memory

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_broke_a_reader_breaks_it_no_more(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    doors = READERS[path.stem.replace("_", " ")](tmp_path)
    broken = []
    for (door, data), was in corpus.load(path):
        verdict = judge(doors[door].read, data, peak_memory())
        if verdict.outcome not in ("read", "refused"):
            broken.append(f"{door}: {verdict.outcome} ({verdict.said}), first found as {was}")
    assert not broken


def test_the_corpus_is_small_and_of_readers_that_there_are() -> None:
    assert sum(path.stat().st_size for path in CORPUS) < 300_000
    assert {path.stem.replace("_", " ") for path in CORPUS} <= set(READERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(READERS))
def test_a_second_of_fuzzing_finds_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fuzzing.readers import Reader
    from fuzzing.record import Record
    from fuzzing.worker import fuzz

    monkeypatch.chdir(tmp_path)
    reader, record = Reader(name, READERS[name](tmp_path)), Record(name, seed=1)
    check_good(reader)
    fuzz(reader, record, 1.0, lambda case: None, lambda: None)
    assert record.cases
    assert not record.findings
