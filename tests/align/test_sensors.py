"""The sensor token knows each sample's source: as the list of shards says, its samples, or its index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.align.model import build_aligner
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs, build_datasets
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import DataError, SignalError
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.run import evaluate_run
from pairalign_touch.gel import sensor_codes

CNN = {"encoder": "touch_cnn", "options": {"size": 16, "width": 8, "channels": 4, "sensors": ["gelsight", "digit"]}}


def pack(folder: Path, *, meta: list[str] | None = None, recorded: str | None = None) -> None:
    """Eight contacts; meta: sensor by sample, in turns. recorded: of all, in the index."""
    rng = np.random.default_rng(len(str(folder)))
    rows = []
    for n in range(16):
        touch = Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8))
        row = {"key": str(n), "touch": touch, "a": rng.normal(size=6).astype("f4"), "split": ("train", "test")[n % 2]}
        rows.append(row | ({"meta": {"sensor": meta[n // 2 % len(meta)]}} if meta else {}))
    units = {"touch": {"sensor": recorded}} if recorded else {}
    pack_pairs(rows, folder, modalities=["touch", "a"], units=units, progress=False)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    pack(tmp_path / "told")
    pack(tmp_path / "mixed", meta=["digit", "gelsight"])
    pack(tmp_path / "indexed", recorded="digit")
    return {
        "modalities": {"touch": CNN, "a": {"encoder": "tiny_vector"}},
        "edges": [
            {
                "between": ["touch", "a"],
                "shards": [{"path": "told", "sensor": "gelsight"}, {"path": "mixed"}, {"path": "indexed"}],
            }
        ],
        "out": str(tmp_path / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 16},
        "train": {"steps": 2, "batch_size": 24, "warmup": 1, "accelerator": "cpu"},
        "data": {"root": str(tmp_path), "val_split": None},
    }


def config(settings: dict[str, Any]) -> AlignConfig:
    return load_config(AlignConfig, settings)


def test_every_sample_carries_its_sensor(settings: dict[str, Any]) -> None:
    dataset = build_datasets(config(settings), build_aligner(config(settings)), progress=False)["train"]["touch-a"]
    batch = next(iter(dataset))
    codes = dict(zip(batch.keys, sensor_codes(batch.a.value).tolist(), strict=True))
    by_source: dict[str, set[int]] = {}
    for key, code in codes.items():
        by_source.setdefault(key.partition("/")[0], set()).add(code)
    assert by_source == {"told": {1}, "mixed": {1, 2}, "indexed": {2}}


def test_a_sensor_may_be_renamed_and_unknown_on_purpose(settings: dict[str, Any]) -> None:
    settings["edges"][0]["shards"] = [{"path": "indexed", "sensor": "unknown"}, {"path": "mixed", "sensor": "gelsight"}]
    dataset = build_datasets(config(settings), build_aligner(config(settings)), progress=False)["train"]["touch-a"]
    batch = next(iter(dataset))
    assert {(key[:5], code) for key, code in zip(batch.keys, sensor_codes(batch.a.value).tolist(), strict=True)} == {
        ("index", 0),
        ("mixed", 1),
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "told", "sensor": "digti"}, r"source 'told', field 'touch': is of sensor 'digti'.*mean 'digit'"),
        ({"path": "other"}, r"source 'other', field 'touch': is of sensor 'GelSlim'.*options.sensors"),
    ],
)
def test_an_unknown_sensor_is_one_clear_error(
    settings: dict[str, Any], tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    pack(tmp_path / "other", recorded="GelSlim")
    settings["edges"][0]["shards"] = ["indexed", entry]
    for verb in (plan_run, align_pairs):
        with pytest.raises(SignalError, match=message):
            verb(config(settings), progress=False)


def test_samples_of_an_unknown_sensor_are_not_read_as_any(settings: dict[str, Any], tmp_path: Path) -> None:
    pack(tmp_path / "other", meta=["gelslim"])
    settings["edges"][0]["shards"] = "other"
    with pytest.raises(DataError, match=r"is of sensor 'gelslim', and the encoder knows gelsight, digit"):
        align_pairs(config(settings), progress=False)


def test_a_sensor_that_was_never_seen_can_be_measured(settings: dict[str, Any], tmp_path: Path) -> None:
    pack(tmp_path / "other", recorded="GelSlim")
    found = evaluate_run(align_pairs(config(settings), progress=False), tmp_path / "other", progress=False)
    assert found.metrics["pools"]["other/test"]["n"] == 8
