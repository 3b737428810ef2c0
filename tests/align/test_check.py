"""What a run is refused for before anything long starts, by `plan` and by `align` alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import recorded_as
from pairalign.align import run as stage_one
from pairalign.align.check import check_edges
from pairalign.align.model import build_aligner
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs, read_metrics
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import PairalignError
from pairalign.data.pack import pack_pairs
from pairalign.files import why_unwritable

Settings = dict[str, Any]


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a refusal comes after the first long step."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a cache was built, or training began")

    monkeypatch.setattr("pairalign.align.cache.open_or_build", refuse)
    monkeypatch.setattr(stage_one, "_fit", refuse)


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize("ask", [plan_run, align_pairs])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.val_split=vla", r"edge a-b: .* has 0 samples of the split data.val_split='vla'. Did you mean 'val'"),
        ("data.train_split=trian", r"edge a-b: .* has no split 'trian'. Did you mean 'train'"),
        ("edges.1.shards=b-d", r"shard folder .*b-d' does not exist"),
        ("out=FILE", r"out='.*': '.*file' is a file: choose another folder"),
        ("out=FILE/deeper/run", r"out=.* is a file"),
        ("cache=FILE", r"cache=.* is a file"),
        ("modalities.a.start=nowhere", r"modalities.a.start='nowhere': is no finished run"),
        ("modalities.b.source=x", r"edge a-b: .* holds no field 'x'"),
        ("edges.1.shards=UNIT", r"edge b-c, field 'c': the data records unit 'kPa', the encoder declares 'N'"),
        ("plugins=[no_such_module]", r"plugin 'no_such_module' raises on import"),
    ],
)
def test_it_is_refused_before_anything_long(
    align_settings: Settings, pair_folder: Path, tmp_path: Path, ask: Callable[..., Any], override: str, message: str
) -> None:
    (tmp_path / "file").touch()
    align_settings["modalities"]["b"]["tune"] = "none"
    wrong = recorded_as(pair_folder / "b-c", tmp_path / "kpa", "c", unit="kPa")
    override = override.replace("FILE", str(tmp_path / "file")).replace("UNIT", str(wrong))
    with pytest.raises(PairalignError, match=message):
        ask(load_config(AlignConfig, align_settings, [override]), progress=False)


def without_val(folder: Path, copy: Path) -> Path:
    recorded_as(folder, copy, "b")
    index = json.loads((copy / "index.json").read_text())
    del index["splits"]["val"]
    (copy / "index.json").write_text(json.dumps(index))
    return copy


def test_an_edge_without_the_split_of_the_default_is_trained_and_said(
    align_settings: Settings, pair_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    align_settings["edges"][1]["shards"] = str(without_val(pair_folder / "b-c", tmp_path / "bare"))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(align_settings))
    note = f"note: edge b-c is not validated: {str(tmp_path / 'bare')!r} has 0 samples of a split 'val'."
    assert main(["plan", str(tmp_path / "c.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]
    assert main(["align", str(tmp_path / "c.yaml"), "--quiet"]) == 0
    assert note in capsys.readouterr().err.splitlines()
    names = {name for line in read_metrics(align_settings["out"]) for name in line}
    assert "val/a-b/contrast" in names
    assert "val/b-c/contrast" not in names


def test_no_validation_can_be_asked_for(
    align_settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(AlignConfig, align_settings, ["data.val_split=null"])
    assert plan_run(config, progress=False).notes == ()


def test_a_batch_larger_than_the_split_is_said(align_settings: Settings) -> None:
    config = load_config(AlignConfig, align_settings, ["train.batch_size=97"])
    note = "note: edge a-b: train.batch_size=97 is more than its 96 training pairs: batches repeat some."
    assert note in plan_run(config, progress=False).notes


def test_a_folder_that_can_be_made_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_unwritable(tmp_path / "a" / "b") is None
    assert why_unwritable(tmp_path) is None
    assert not (tmp_path / "a").exists()
    assert why_unwritable(tmp_path / "file" / "x") == f"{str(tmp_path / 'file')!r} is a file"


def test_an_error_of_units_names_the_setting_that_mends_it(tmp_path: Path) -> None:
    """Clouds packed as "1", which is honest, and an encoder that takes metres unless it is told."""
    rng = np.random.default_rng(0)
    rows = [{f: rng.normal(size=(16, 3)).astype(np.float32) for f in ("points", "again")} for _ in range(8)]
    axes = ("point", "xyz")
    facts = {"points": {"unit": 1, "axes": axes}, "again": {"unit": "1", "axes": axes}}
    pack_pairs(rows, tmp_path / "clouds", units=facts, progress=False)
    settings: Settings = {
        "modalities": {name: {"encoder": "pointnet2", "options": {"points": 16}} for name in facts},
        "edges": [{"between": ["points", "again"], "shards": str(tmp_path / "clouds")}],
        "out": str(tmp_path / "run"),
        "train": {"batch_size": 4},
    }
    config = load_config(AlignConfig, settings, ["modalities.again.options.unit=1"])
    with pytest.raises(PairalignError, match=r"unit '1', the encoder declares 'm'.* modalities.points.options.unit=1;"):
        check_edges(config, build_aligner(config))
    config = load_config(AlignConfig, settings, [f"modalities.{end}.options.unit=1" for end in facts])
    check_edges(config, build_aligner(config))
