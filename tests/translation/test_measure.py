"""Measuring drawings: shared factors are read from them, one side's own are at chance, and who sees what is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import drawn as world
import pytest
import torch

from pairalign.align.run import AlignRun
from pairalign.cli.main import main
from pairalign.core.errors import ConfigError, DataError
from pairalign.data.pack import pack_pairs
from pairalign.translation.crossing import Crossing
from pairalign.translation.measure import Measured, measure_translation

ENDS: dict[str, Any] = {"source": "a", "target": "p", "progress": False}


@pytest.fixture(scope="module")
def measured(run: AlignRun) -> Measured:
    return measure_translation(run, run.folder.parent / "held", **ENDS)


def test_what_both_see_is_in_the_drawing_and_what_one_sees_is_not(measured: Measured) -> None:
    factors = measured.record["factors"]
    seen = {name: tuple(found["seen_by"].values()) for name, found in factors.items()}
    assert seen == {"red": (True, True), "green": (True, True), "blue": (False, True), "own": (True, False)}
    for name, found in factors.items():
        for probe, scores in found["scores"].items():
            assert set(scores) == {"truth", "truth, decoded", "drawn", "nearest", "mean"}, probe
            assert scores["mean"].value == pytest.approx(scores["mean"].chance)
            assert scores["drawn"].n == 160
            if name in ("red", "green"):
                assert scores["drawn"].low > scores["drawn"].chance + 0.2, (name, probe)
                assert scores["nearest"].low > scores["nearest"].chance + 0.2, (name, probe)
            else:
                assert scores["drawn"].at_chance, (name, probe)
    assert factors["blue"]["scores"]["numbers"]["truth"].low > 0.9
    assert measured.record["error"]["mean"] == 1
    assert measured.record["error"]["truth, decoded"] < measured.record["error"]["drawn"] < 1


def test_the_files_say_the_same_and_the_distance_is_refused_with_the_number_it_needs(measured: Measured) -> None:
    written = json.loads((measured.folder / "translation.json").read_text())
    assert written["factors"]["red"]["scores"]["numbers"]["drawn"]["n"] == 160
    assert written["synthetic"] is True
    assert (measured.folder / "translation.md").read_text() == measured.table
    assert "control: only p" in measured.table
    assert (measured.folder / "translation.png").stat().st_size > 1000
    assert set(written["frechet"]) == {"other true samples", "truth, decoded", "drawn", "nearest", "mean"}
    assert written["frechet"]["other true samples"] < written["frechet"]["mean"]


def test_by_retrieval_from_the_command_line_with_what_each_side_sees(
    run: AlignRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["translate", str(run.folder), "--from", "a", "--to", "p", "--measure", "--limit", "60", "--quiet"]
    words += ["--pairs", str(run.folder.parent / "held"), "--out", str(tmp_path / "o"), "--through", "retrieval"]
    assert main([*words, "--sees", "a=red,own", "--sees", "p=red,blue", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["factors"]["green"]["seen_by"] == {"a": False, "p": False}
    assert set(record["factors"]["red"]["scores"]["encoder"]) == {"truth", "nearest", "mean"}
    assert record["frechet"]["refused"].startswith("a Fréchet distance of 16 features needs 80 samples")
    assert main([*words, "--sees", "a=red"]) == 2
    assert "name the factors of 'p' too" in capsys.readouterr().err


def test_a_drawing_that_ignores_the_sensor_is_at_chance_in_everything(
    run: AlignRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure itself: noise in place of latents must not pass for knowledge."""
    plain = Crossing.__call__
    monkeypatch.setattr(Crossing, "__call__", lambda self, shared: plain(self, torch.randn_like(shared)))
    torch.manual_seed(0)
    found = measure_translation(run, run.folder.parent / "held", out=tmp_path / "o", **ENDS)
    for factor in found.record["factors"].values():
        assert factor["scores"]["numbers"]["drawn"].at_chance
    assert found.record["error"]["drawn"] > 1


def test_pairs_without_the_target_or_labels_are_told(run: AlignRun, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hold no 'p', only a, f.*--pairs"):
        measure_translation(run, run.folder.parent / "a-f", split="train", **ENDS)
    bare = tmp_path / "bare"
    rows = [{k: v for k, v in row.items() if k != "label"} for row in world.rows(20, "val", 9)]
    pack_pairs(rows, bare, modalities=["a", "p"], units={"a": {"unit": "N"}}, progress=False)
    found = measure_translation(run, bare, out=tmp_path / "o", **ENDS)
    assert "no factor" in found.table
    assert found.record["error"]["drawn"] < 1


def test_a_run_that_learnt_no_reconstruction_says_what_to_do(run: AlignRun) -> None:
    decoder = run.aligner.decoders.pop("p")
    try:
        with pytest.raises(ConfigError, match=r"'p' has no decoder in this run \(loss.reconstruct=1, .*--through retr"):
            measure_translation(run, run.folder.parent / "held", **ENDS)
    finally:
        run.aligner.decoders["p"] = decoder
