"""Anchor caches: the tower runs once, every view is what the tower gives, and a stale or damaged cache is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TinyVector, vector_pairs
from pairalign.align.cache import AnchorCache, open_or_build
from pairalign.align.fingerprint import cache_fingerprint, weights_fingerprint
from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import CacheError
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples


@pytest.fixture
def tower() -> TinyVector:
    torch.manual_seed(0)
    tower = TinyVector()
    tower.tune("none")
    return tower.eval()


def where(folder: Path, name: str = "cache") -> Path:
    """The one cache of a name, whatever its fingerprint."""
    (found,) = folder.glob(f"{name}-*")
    return found


def build(folder: Path, tower: TinyVector, shards: Path, **options: Any) -> AnchorCache:
    return open_or_build(folder, tower, {}, shards, "train", "a", progress=False, batch_size=7, **options)


def test_view_zero_is_the_tower_on_the_plain_sample(pair_folder: Path, tmp_path: Path, tower: TinyVector) -> None:
    cache = build(tmp_path / "cache", tower, pair_folder / "a-b", views=3)
    assert cache.features.shape == (96, 3, tower.width)
    for sample in read_samples(pair_folder / "a-b", "train", ["a"]):
        expected = tower(tower.preprocess(sample.values["a"])[None]).pooled[0].detach()
        torch.testing.assert_close(cache.view(sample.key, None), expected)


def test_random_views_differ_and_repeat(pair_folder: Path, tmp_path: Path, tower: TinyVector) -> None:
    one = build(tmp_path / "one", tower, pair_folder / "a-b", views=4)
    two = build(tmp_path / "two", tower, pair_folder / "a-b", views=4)
    assert np.array_equal(one.features, two.features)
    assert len(np.unique(one.features[0].round(6), axis=0)) == 4
    key = next(iter(one.rows))
    picks = {tuple(one.view(key, torch.Generator().manual_seed(s)).tolist()) for s in range(50)}
    assert len(picks) == 4
    other_seed = build(tmp_path / "three", tower, pair_folder / "a-b", views=4, seed=1)
    assert not np.array_equal(one.features[:, 1:], other_seed.features[:, 1:])


def test_the_tower_runs_only_once(
    pair_folder: Path, tmp_path: Path, tower: TinyVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "cache", tower, pair_folder / "a-b")
    monkeypatch.setattr("pairalign.align.cache.build_anchors", None)  # calling it again would fail
    build(tmp_path / "cache", tower, pair_folder / "a-b")


def test_everything_that_decides_a_feature_is_in_the_fingerprint(tower: TinyVector) -> None:
    base = cache_fingerprint(tower, {"size": 6}, "data", 2, 0)
    assert base == cache_fingerprint(tower, {"size": 6}, "data", 2, 0)
    others = [
        cache_fingerprint(tower, {"size": 7}, "data", 2, 0),
        cache_fingerprint(tower, {"size": 6}, "other data", 2, 0),
        cache_fingerprint(tower, {"size": 6}, "data", 3, 0),
        cache_fingerprint(tower, {"size": 6}, "data", 2, 1),
    ]

    class Scaled(TinyVector):
        def preprocess(self, raw: Any) -> torch.Tensor:
            return super().preprocess(raw) * 2

    scaled = Scaled()
    scaled.load_state_dict(tower.state_dict())
    others.append(cache_fingerprint(scaled, {"size": 6}, "data", 2, 0))
    with torch.no_grad():
        tower.net[0].bias[0] += 1e-6
    others.append(cache_fingerprint(tower, {"size": 6}, "data", 2, 0))
    assert len({base, *others}) == 7


def test_caches_of_other_weights_data_or_fields_lie_beside_each_other(
    pair_folder: Path, tmp_path: Path, tower: TinyVector, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(tmp_path / "cache", tower, pair_folder / "a-b")
    twin = tmp_path / "other" / "a-b"
    pack_pairs(vector_pairs(96, ("a", "b"), seed=1), twin, progress=False)
    assert not np.array_equal(first.features, build(tmp_path / "cache", tower, twin).features)
    with torch.no_grad():
        tower.net[0].weight.mul_(1.1)
    assert not np.array_equal(first.features, build(tmp_path / "cache", tower, pair_folder / "a-b").features)
    options: dict[str, Any] = {"progress": False}
    other = open_or_build(tmp_path / "cache", tower, {}, pair_folder / "a-b", "train", "b", **options)
    assert not np.array_equal(first.features, other.features)
    assert len(list(tmp_path.glob("cache-*"))) == 4
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "cache.json").write_text("{}")
    build(tmp_path / "cache", tower, pair_folder / "a-b")
    assert "is of an earlier version and not used: delete it" in capsys.readouterr().err


def test_a_cache_of_another_fingerprint_is_refused(pair_folder: Path, tmp_path: Path, tower: TinyVector) -> None:
    build(tmp_path / "cache", tower, pair_folder / "a-b")
    with pytest.raises(CacheError, match=r"is stale.*Delete the folder"):
        AnchorCache.open(where(tmp_path), "0" * 64, tower.width)


def test_a_damaged_or_foreign_cache_is_refused(pair_folder: Path, tmp_path: Path, tower: TinyVector) -> None:
    cache = build(tmp_path / "cache", tower, pair_folder / "a-b")
    with pytest.raises(CacheError, match="is not in the anchor cache"):
        cache.view("unknown", None)
    record = json.loads((where(tmp_path) / "cache.json").read_text())
    (where(tmp_path) / "cache.json").write_text(json.dumps({**record, "keys": record["keys"][1:]}))
    with pytest.raises(CacheError, match="96 rows for 95 keys"):
        build(tmp_path / "cache", tower, pair_folder / "a-b")
    (where(tmp_path) / "features.npy").write_bytes(b"short")
    with pytest.raises(CacheError, match="is damaged"):
        build(tmp_path / "cache", tower, pair_folder / "a-b")


def test_an_interrupted_build_leaves_nothing(
    pair_folder: Path, tmp_path: Path, tower: TinyVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    forward = TinyVector.forward

    def dying(self: TinyVector, batch: torch.Tensor) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(TinyVector, "forward", dying)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "caches" / "a", tower, pair_folder / "a-b")
    assert not (tmp_path / "caches").exists()


def test_training_on_a_frozen_tower_uses_its_cache(align_settings: dict[str, Any]) -> None:
    align_settings["modalities"]["b"].update(tune="none", views=2, head="anchor")
    settings = {**align_settings, "loss": {"relation": 0.5}}
    run = align_pairs(load_config(AlignConfig, settings), progress=False)
    assert sorted(p.name.rpartition("-")[0] for p in (run.folder / "cache").iterdir()) == [
        "b-a-b-train", "b-a-b-val", "b-b-c-train", "b-b-c-val",
    ]  # fmt: skip
    torch.manual_seed(0)
    assert weights_fingerprint(run.aligner.encoder("b"))
    assert float(run.aligner.heads["b"].basis.abs().sum()) > 0
