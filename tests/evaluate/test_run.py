"""Evaluating a real run: what is measured, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TinyVector, recorded_as, small_alignment, vector_pairs
from pairalign.align.run import AlignRun, align_pairs
from pairalign.cli.main import main
from pairalign.core import registry
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import CheckpointError, DataError
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.measure import measured_pairs
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.probes import training_pools
from pairalign.evaluate.run import evaluate_run, measure_pool


@pytest.fixture(scope="module")
def run(packed_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> AlignRun:
    """One run that learned, for all tests: whoever damages it takes a copy."""
    registry._registered["tiny_vector"] = TinyVector
    told = small_alignment(packed_pairs, tmp_path_factory.mktemp("learned") / "run")
    return align_pairs(load_config(AlignConfig, told, ["train.steps=80", "train.lr=5e-3"]), progress=False)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty samples that all three sensors see, sharing three numbers, in six groups."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(60):
        shared = rng.normal(size=3)
        sides = {m: np.concatenate([shared, rng.normal(size=3)]).astype("float32") for m in "abc"}
        label = {"sign": int(shared[0] > 0), "kind": "one"}
        rows.append({"key": f"p{i:03d}", **sides, "split": "test", "label": label, "group": f"g{i % 6}"})
    units = {m: {"unit": "N"} for m in "abc"}
    pool = tmp_path_factory.mktemp("pools") / "pool"
    pack_pairs(rows, pool, modalities=list("abc"), units=units, progress=False, synthetic=True)
    return pool


def test_trained_and_emergent_pairs_are_measured_and_written(run: AlignRun, pool: Path, capsys: Any) -> None:
    found = evaluate_run(run.folder, pool, same_group=True, progress=False)
    pairs = found.metrics["pools"]["pool/test"]["pairs"]
    assert {name: p["status"] for name, p in pairs.items()} == {
        "a-b": "trained", "b-c": "trained", "a-c": "emergent",
    }  # fmt: skip
    trained = pairs["a-b"]["retrieval"].forward
    assert trained.recall[1].low > trained.recall[1].chance
    assert trained.recall[1].clusters == 6  # intervals over groups, not samples
    assert pairs["a-b"]["retrieval_same_group"].forward.candidates == 10
    written = json.loads((found.report.with_name("metrics.json")).read_text())
    assert written["pools"]["pool/test"]["pairs"]["a-c"]["path"] == ["a", "b", "c"]
    assert written["synthetic"] is True
    page = found.report.read_text().lower()
    for part in ("drawn by a program", "emergent", "linear probes", "what each gate keeps", "which latent dimensions"):
        assert part in page
    assert "a → b" in found.table
    assert "linear probes (NO TRAINING SPLIT HERE: trained on half of these samples" in found.table
    assert "no training split here" in page
    assert "note: pool/test: linear probes are trained on half of it" in capsys.readouterr().err


def test_every_interval_is_over_what_group_or_session_joins(run: AlignRun, tmp_path: Path) -> None:
    rows = []
    for i, row in enumerate(vector_pairs(60, ("a", "b"))):
        label = {"odd": "yes" if i % 2 else "no"}
        rows.append({**row, "split": "test", "label": label, "group": f"g{i % 20}", "session": f"s{i % 10}"})
    pack_pairs(rows, tmp_path / "pool", modalities=["a", "b"], progress=False)
    pool = encode_pool(run, tmp_path / "pool", progress=False)
    found = measure_pool(run, pool)
    pair = found["pairs"]["a-b"]
    assert pair["retrieval"].forward.recall[1].clusters == 10
    assert pair["agreement"]["each"]["odd"]["backward"].clusters == 10
    assert found["probes"]["a"]["shared"]["odd"].accuracy.clusters == 5  # half of them are tested


def test_a_graph_of_two_parts_is_measured_and_the_report_says_so(align_settings: dict[str, Any], pool: Path) -> None:
    align_settings["edges"] = align_settings["edges"][:1]
    settings = load_config(AlignConfig, align_settings, ["allow_disconnected=true", "train.steps=10"])
    found = evaluate_run(align_pairs(settings, progress=False), pool, progress=False)
    assert set(found.metrics["pools"]["pool/test"]["pairs"]) == {"a-b"}
    assert found.metrics["connected"] is False
    assert "its parts share no space" in found.report.read_text()


def test_a_control_gets_the_chance_of_knowing_the_rest(run: AlignRun, pool: Path) -> None:
    visible = {"a": ["sign"], "b": ["sign"], "c": []}
    found = evaluate_run(run, pool, visible=visible, progress=False)
    pair = found.metrics["pools"]["pool/test"]["pairs"]["b-c"]["agreement"]
    assert pair["factors"] == []
    assert set(pair["control"]) == {"sign", "kind"}
    assert pair["each"]["kind"]["forward"].chance == 1.0  # everything is of one kind


def test_pools_name_what_is_missing(run: AlignRun, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'\. Did you mean 'test'"):
        evaluate_run(run, pool, split="tset", progress=False)
    rows = [{"key": str(i), "x": np.arange(3.0) + i, "split": "test"} for i in range(4)]
    pack_pairs(rows, tmp_path / "other", modalities=["x"], progress=False)
    with pytest.raises(DataError, match="none of the aligned a, b, c"):
        evaluate_run(run, tmp_path / "other", progress=False)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"unit": "kPa"}, "records unit 'kPa', the encoder declares 'N'"),
        ({"rate": 100.0}, "records rate 100.0, the encoder declares None"),
        ({"ext": ["txt"]}, "the data holds txt, the encoder reads signals of kind 'vector'"),
    ],
)
def test_pairs_of_another_unit_rate_or_kind_are_refused_before_anything_is_encoded(
    align_settings: dict[str, Any], pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], message: str,
) -> None:  # fmt: skip
    run = align_pairs(load_config(AlignConfig, align_settings, ["train.steps=1"]), progress=False)
    wrong = recorded_as(pool, tmp_path / "wrong", "c", **facts)
    encoded: list[str] = []
    monkeypatch.setattr(type(run.aligner), "encode", lambda self, modality, value, **_: encoded.append(modality))
    words = ["evaluate", str(run.folder), "--pairs", str(pool), "--pairs", str(wrong), "--quiet"]
    capsys.readouterr()  # the run's own note on its short warm-up
    assert main(words) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"pairalign: pairs {str(wrong)!r}, field 'c': the data ")
    assert message in error
    assert not encoded


def test_a_pool_without_a_usable_sample_says_why(run: AlignRun, tmp_path: Path) -> None:
    rows = [{"key": str(i), "a": np.arange(5.0) + i, "b": np.arange(6.0), "split": "test"} for i in range(4)]
    pack_pairs(rows, tmp_path / "short", modalities=["a", "b"], allow_constant=["b"], progress=False)
    with pytest.raises(DataError, match=r"0 usable samples: .* First left out: .*shape \(5,\) is not the declared"):
        encode_pool(run, tmp_path / "short", progress=False)


def test_unfinished_and_foreign_runs_are_refused(run: AlignRun, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.yaml"):
        evaluate_run(tmp_path, pool, progress=False)
    copy = shutil.copytree(run.folder, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        evaluate_run(copy, pool, progress=False)
    weights.unlink()
    with pytest.raises(CheckpointError, match="is not finished"):
        evaluate_run(copy, pool, progress=False)


def test_samples_that_break_the_signal_are_left_out_and_listed(run: AlignRun, tmp_path: Path) -> None:
    rows = [{**row, "split": "test"} for row in vector_pairs(20, ("a", "b"))]
    rows[3]["a"] = np.arange(5, dtype="float32")
    pack_pairs(rows, tmp_path / "pairs", modalities=["a", "b"], progress=False)
    found = encode_pool(run, tmp_path / "pairs", progress=False)
    assert len(found.keys) == 19
    assert "shape (5,) is not the declared (6,)" in found.bad[0][1]
    assert set(measured_pairs(run.aligner, found)) == {("a", "b")}


def test_several_data_sets_are_measured_one_by_one_and_together(align_settings: dict[str, Any], tmp_path: Path) -> None:
    """Both have the same keys and groups; the pooled row is of one gallery, and its intervals of six groups."""
    run = align_pairs(load_config(AlignConfig, align_settings, ["train.steps=2"]), progress=False)
    for name, seed, groups in (("one", 1, 4), ("two", 2, 2)):
        rows = vector_pairs(24, ("a", "b"), seed=seed, split="test")
        grouped = [{**row, "group": str(n % groups)} for n, row in enumerate(rows)]
        pack_pairs(grouped, tmp_path / name, units={end: {"unit": "N"} for end in "ab"}, progress=False)
    found = evaluate_run(run, [tmp_path / "one", tmp_path / "two"], progress=False)
    assert {name: pool["n"] for name, pool in found.metrics["pools"].items()} == {
        "one/test": 24,
        "two/test": 24,
        "pooled/test": 48,
    }
    whole = found.pools["pooled/test"]
    assert len(set(whole.keys)) == 48
    assert len(set(whole.groups or ())) == len(set(whole.clusters or ())) == 6
    score = found.metrics["pools"]["pooled/test"]["pairs"]["a-b"]["retrieval"].forward
    assert (score.n_queries, score.n_targets) == (48, 48)
    assert score.recall[1].chance == pytest.approx(1 / 48)
    assert "retrieval, pooled/test (n = 48)" in found.table
    assert "pooled/test" in found.report.read_text()


def test_probes_are_trained_on_the_training_split(run: AlignRun, tmp_path: Path, capsys: Any) -> None:
    """A held-out split of 20 samples is no place to learn from where there are 96 to train on."""
    rows = []
    for split, count in (("train", 96), ("test", 20)):
        for i, row in enumerate(vector_pairs(count, ("a", "b"), split=split)):
            label = {"sign": "up" if row["a"][0] > 0 else "down"}
            rows.append(
                {**row, "key": f"{split}{i}", "label": label, "group": f"g{i % (24 if split == 'train' else 2)}"}
            )
    pack_pairs(rows, tmp_path / "pool", modalities=["a", "b"], progress=False)
    found = evaluate_run(run, tmp_path / "pool", out=tmp_path / "out", progress=False)
    record = found.metrics["pools"]["pool/test"]
    assert record["probes_trained_on"] == {"split": "train", "n": 96, "shared_groups": 2}
    assert record["probes"]["a"]["shared"]["sign"].accuracy.n == 20  # all of them are scored
    words = "trained on 96 samples of split 'train', scored on all 20 here; 2 of their groups are in 'train' too"
    assert words in found.table
    assert words in unescape(found.report.read_text())
    assert capsys.readouterr().err == ""
    limited = training_pools(run, [(Path(tmp_path / "pool"), "test")], found.pools, limit=20, progress=False)
    assert len(limited["pool/test"].keys) == 20
    with pytest.raises(DataError, match=r"probe_split='trian': .* has no such split. Did you mean 'train'"):
        evaluate_run(run, tmp_path / "pool", probe_split="trian", out=tmp_path / "out", progress=False)
