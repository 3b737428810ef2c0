"""The page of a user's own run: made of what was measured, by the verb, once, and again where it is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage_two import settings

from finetune.test_verdicts import again, results
from pairalign.finetune.page import PAGE, cost_rows, drift_lines, kind_rows, write_page


def history(*accuracies: float) -> list[dict[str, float]]:
    return [{"step": n, "held_out/a/b/accuracy": value, "held_out/a/b/loss": 9.0} for n, value in enumerate(accuracies)]


def test_a_page_says_first_what_was_learned_and_lost(tmp_path: Path, setup: Path) -> None:
    more: dict[str, Any] = {**again(90, 90, 60), "trained": 4321, "history": history(1.0, 0.5)}
    found = {**results((20, 80), (90, 90), **more), "asked": {"touch": {"prompt": "<b>{touch}</b> hard?", "files": {}}}}
    config = settings(setup, tmp_path)
    words = write_page(tmp_path, config, found).read_text()
    assert "1 of 1 tasks is learned" in words
    assert "30.0 points on average" in words
    assert "4,321" in words
    assert "&lt;b&gt;{touch}" in words
    assert "Drift along training" in words
    assert str(setup) not in words  # of the base the last part alone
    assert "Synthetic data" in words
    assert words == write_page(tmp_path, config, found).read_text()
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]


def test_a_run_that_measured_nothing_has_a_page(tmp_path: Path, setup: Path) -> None:
    config = settings(setup, tmp_path, validation={}, held_out={})
    assert "Nothing was measured" in write_page(tmp_path, config, {"base": {}, "after": {}}).read_text()


def test_rows_and_lines_are_those_of_the_results() -> None:
    found = {**results((20, 80), (90, 60)), "history": history(1.0, 0.25)}
    (head, rows) = kind_rows({"now": found})
    assert head[-2:] == ["base", "now"]
    assert [(row[0], row[1], round(row[2].value, 2), round(row[3].value, 2)) for row in rows] == [
        ("touch: hard", 100, 0.2, 0.8), ("touch: rough", 100, 0.2, 0.8),
        ("image: hard", 100, 0.9, 0.6), ("image: rough", 100, 0.9, 0.6),
    ]  # fmt: skip
    assert drift_lines({"now": found}, "accuracy") == {"now": [(0, 1.0), (1, 0.25)]}
    assert drift_lines({"now": found}, "mass") == {}
    assert drift_lines({"now": {**found, "history": history(1.0)}}, "accuracy") == {}
    (row,) = cost_rows({"now": {**found, **again(90, 90, 60)}})[1]
    assert row[-2:] == ["0.600 (0.900)", "–"]


@pytest.mark.parametrize("earlier", [True, False])
def test_the_verb_writes_it_and_makes_it_again(
    earlier: bool, tmp_path: Path, setup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairalign.cli.recompose import written_page
    from pairalign.core.errors import StorageError
    from pairalign.finetune.load import RecomposeRun

    none: Any = None
    done = RecomposeRun(tmp_path, settings(setup, tmp_path), none, none, results((20, 80), (90, 90)), "then" * earlier)
    page = written_page(done)
    assert page == tmp_path / PAGE
    (tmp_path / PAGE).write_text("mine")
    assert written_page(done) == page
    assert (page.read_text() == "mine") == earlier
    page.unlink()

    def full(*_: Any) -> Path:
        raise StorageError("full")

    monkeypatch.setattr("pairalign.finetune.page.write_page", full)
    if earlier:
        assert written_page(done) is None
    else:
        with pytest.raises(StorageError):
            written_page(done)
