"""Several data sets for one pair of modalities: drawn by size or weight, resumed to the bit, told apart in figures."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import TinyVector, recorded_as, vector_pairs
from pairalign.align.dataset import DatasetSource, PairBatch, PairDataset, SideSource
from pairalign.align.identity import align_identity
from pairalign.align.model import build_aligner
from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs, build_datasets, load_aligned, read_metrics
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError, DataError, IdentityError, SignalError
from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs

EDGE = ("a", "b")
BY_SIZE = (None, None)
Settings = dict[str, Any]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "large" and "small", with the same keys: 60 and 12 training, 20 and 9 validation pairs of a–b."""
    sets = tmp_path_factory.mktemp("sets")
    for name, counts in (("large", (60, 20)), ("small", (12, 9))):
        splits = zip(("train", "val"), counts, strict=True)
        rows = [row for split, count in splits for row in vector_pairs(count, EDGE, seed=ord(name[0]), split=split)]
        units = {end: {"unit": "N"} for end in EDGE}
        pack_pairs(rows, sets / name, units=units, shard_samples=25, progress=False)
    return sets


@pytest.fixture
def folders(packed: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may add to."""
    return Path(shutil.copytree(packed, tmp_path / "sets"))


@pytest.fixture
def settings(align_settings: Settings, folders: Path) -> Settings:
    """A run over both as one pool, and over b–c."""
    align_settings["edges"][0]["shards"] = [f"{folders}/large", f"{folders}/small"]
    return align_settings


def run(settings: Settings, *overrides: str) -> AlignConfig:
    return load_config(AlignConfig, settings, overrides)


def dataset(
    folders: Path, size: int = 16, weights: tuple[float | None, float | None] = (None, None), **options: Any
) -> PairDataset:
    sides = [{end: SideSource(end, TinyVector()) for end in EDGE} for _ in weights]
    sources = [
        DatasetSource(str(folders / name), options.get("split", "train"), side, name, weight)
        for name, side, weight in zip(("large", "small"), sides, weights, strict=True)
    ]
    options.pop("split", None)
    return PairDataset(sources, [EDGE], size, **options)


def first(batches: Any, count: int) -> list[PairBatch]:
    return list(itertools.islice(batches, count))


def test_an_epoch_by_size_holds_every_sample_of_every_source_once(folders: Path) -> None:
    batches = first(dataset(folders, 24), 6)
    for epoch in (batches[:3], batches[3:]):
        keys = [key for batch in epoch for key in batch.keys]
        assert len(set(keys)) == len(keys) == 72
        assert Counter(key.partition("/")[0] for key in keys) == {"large": 60, "small": 12}
    assert {batch.sources.count(1) for batch in batches} <= {2, 3, 4, 5, 6}


def test_weights_say_shares_and_a_small_source_wraps(folders: Path) -> None:
    keys = [key for batch in first(dataset(folders, 24, (1.0, 1.0)), 3) for key in batch.keys]
    counts = Counter(keys)
    assert Counter(key.partition("/")[0] for key in keys) == {"large": 36, "small": 36}
    assert {counts[key] for key in counts if key.startswith("large")} == {1}
    assert {counts[key] for key in counts if key.startswith("small")} == {3}


def test_the_views_of_one_sample_differ_from_pass_to_pass(folders: Path) -> None:
    batch = first(dataset(folders, 72, (1.0, 1.0)), 1)[0]
    rows: dict[str, list[torch.Tensor]] = {}
    for key, row in zip(batch.keys, batch.a.value, strict=True):
        rows.setdefault(key, []).append(row)
    for views in (views for key, views in rows.items() if key.startswith("small")):
        assert len({tuple(view.tolist()) for view in views}) == 3


def test_equal_keys_do_not_collide_and_equal_content_is_known_as_equal(folders: Path, tmp_path: Path) -> None:
    batch = first(dataset(folders, 72, BY_SIZE, augment=False), 1)[0]
    by_name = dict(zip(batch.keys, batch.a.value, strict=True))
    assert not by_name["large/train-00000"].equal(by_name["small/train-00000"])
    same = {"a": np.ones(6, np.float32), "split": "train"}
    for name in ("x", "y"):
        rows = [{"key": str(n), **same, "b": np.full(6, n + len(name), np.float32)} for n in range(4)]
        pack_pairs(rows, tmp_path / name, allow_constant=["a", "b"], progress=False)
    sides = {end: SideSource(end, TinyVector()) for end in EDGE}
    both = PairDataset([DatasetSource(str(tmp_path / n), "train", sides, n) for n in "xy"], [EDGE], 8)
    assert len(set(next(iter(both)).a.ids.tolist())) == 1


@pytest.mark.parametrize("weights", [(None, None), (1.0, 2.0)])
@pytest.mark.parametrize("start", [0, 7])
def test_workers_make_the_batches_of_one_process(folders: Path, weights: Any, start: int) -> None:
    alone = first(dataset(folders, 20, weights), 14)
    later = dataset(folders, 20, weights, start=start)
    before = first(BatchLoader(dataset(folders, 20, weights), 2), start)
    later.places = {batch.place.worker: batch.place for batch in before}
    for one, other in zip(alone[start:], first(BatchLoader(later, 2), 14 - start), strict=True):
        assert one.keys == other.keys
        assert one.a.value.equal(other.a.value)


def test_processes_make_together_the_batches_of_one(folders: Path) -> None:
    weights = (3.0, 1.0)
    alone = first(dataset(folders, 20, weights), 12)
    shares = [first(dataset(folders, 10, weights, rank=rank, world_size=2), 12) for rank in range(2)]
    for whole, one, other in zip(alone, *shares, strict=True):
        assert whole.keys == one.keys + other.keys


@pytest.mark.parametrize("world", [1, 3])
def test_a_validation_batch_is_of_one_source(folders: Path, world: int) -> None:
    found = [b for r in range(world) for b in dataset(folders, 8, split="val", train=False, rank=r, world_size=world)]
    assert all(len(set(batch.sources)) == 1 for batch in found)
    assert sorted(map(len, (b.keys for b in found))) == [4, 8, 8, 9]  # 9 in one: a batch of one has no negatives
    assert len({key for batch in found for key in batch.keys}) == 29


@pytest.mark.parametrize(("workers", "accumulate"), [(0, 2), (2, 1)])
def test_a_killed_run_of_a_pool_resumes_to_the_bit(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, accumulate: int
) -> None:
    folder = Path(settings["edges"][0]["shards"][0]).parent
    settings["edges"][0]["shards"] = [
        {"path": f"{folder}/large", "weight": 1},
        {"path": f"{folder}/small", "weight": 3},
    ]
    extra = (f"data.workers={workers}", f"train.accumulate={accumulate}", "train.steps=12")
    align_pairs(run(settings, f"out={tmp_path / 'whole'}", *extra), progress=False)

    from pairalign.align.task import StageOne

    step = StageOne.training_step

    def dying(self: StageOne, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 9:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    cut = run(settings, f"out={tmp_path / 'cut'}", *extra)
    with monkeypatch.context() as patch:
        patch.setattr(StageOne, "training_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            align_pairs(cut, progress=False)
    align_pairs(cut, progress=False)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_a_list_of_one_folder_is_that_folder(settings: Settings, tmp_path: Path, folders: Path) -> None:
    weights = []
    for name, shards in (("one", f"{folders}/large"), ("two", [f"{folders}/large"])):
        settings["edges"][0]["shards"] = shards
        align_pairs(run(settings, f"out={tmp_path / name}"), progress=False)
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_validation_is_told_by_source_and_pooled(settings: Settings) -> None:
    found = align_pairs(run(settings, "train.steps=3"), progress=False)
    told = [line for line in read_metrics(found.folder) if "val/loss" in line][-1]
    for term in ("contrast", "reconstruct"):
        large, small = (told[f"val/a-b/{name}/{term}"] for name in ("large", "small"))
        assert told[f"val/a-b/{term}"] == pytest.approx((20 * large + 9 * small) / 29)
    assert "val/b-c/b-c/contrast" not in told
    trained = [line for line in read_metrics(found.folder) if "train/loss" in line][-1]
    assert all(f"train/a-b/{name}/contrast" in trained for name in ("large", "small"))
    alone = load_aligned(found.folder)
    settings["edges"][0]["shards"] = settings["edges"][0]["shards"][1]
    datasets = build_datasets(run(settings), alone.aligner, progress=False)["val"]
    with torch.no_grad():
        (batch,) = datasets["a-b"]
        mine = alone.aligner.edge_terms(EDGE, batch.a, batch.b)["contrast"]
    assert told["val/a-b/small/contrast"] == pytest.approx(float(mine), rel=1e-5)


def test_frozen_anchors_are_cached_by_source(settings: Settings) -> None:
    settings["modalities"]["a"]["tune"] = "none"
    datasets = build_datasets(run(settings), build_aligner(run(settings)), progress=False)
    caches = [source.sides["a"].cache for source in datasets["train"]["a-b"].sources]
    assert [len(cache.rows) for cache in caches if cache] == [60, 12]


def test_what_a_run_is_covers_every_source(settings: Settings, folders: Path) -> None:
    align_pairs(run(settings, "train.steps=2"), progress=False)
    assert {f"shards of edge a-b, {name}" for name in ("large", "small")} <= set(
        align_identity(run(settings)).made_from
    )
    entries = settings["edges"][0]["shards"]
    for other in (entries[::-1], [{"path": entries[0], "weight": 1}, {"path": entries[1], "weight": 1}], entries[:1]):
        settings["edges"][0]["shards"] = other
        with pytest.raises(IdentityError, match="shards of edge a-b"):
            align_pairs(run(settings, "train.steps=2"), progress=False)
    settings["edges"][0]["shards"] = entries
    rows = [row for split in ("train", "val") for row in vector_pairs(11, EDGE, seed=8, split=split)]
    pack_pairs(rows, folders / "small", units={end: {"unit": "N"} for end in EDGE}, overwrite=True, progress=False)
    with pytest.raises(IdentityError, match="shards of edge a-b, small"):
        align_pairs(run(settings, "train.steps=2"), progress=False)


def test_the_plan_says_what_the_pool_is(settings: Settings, folders: Path) -> None:
    plan = plan_run(run(settings), progress=False)
    assert plan.samples == {"a-b": 72, "b-c": 96}
    text = plan.text()
    assert "pool of 2 sources, an epoch is 72 samples" in text
    assert "large         60 in train, by size: each once, 83.3%" in text
    settings["edges"][0]["shards"] = [{"path": f"{folders}/{n}", "weight": w} for n, w in (("large", 1), ("small", 3))]
    plan = plan_run(run(settings), progress=False)
    assert "small         12 in train, weight 3: 54 drawn (4.5 × each), 75.0%" in plan.text()
    assert [part["drawn"] for part in plan.record()["pools"]["a-b"]] == [18, 54]


UNFIT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "TEXT": lambda row: {**row, "a": f"text of {row['key']}"},
    "LONG": lambda row: {**row, "a": np.append(row["a"], 1).astype("float32")},
    "FIELD": lambda row: {"key": row["key"], "a": row["a"], "c": row["b"]},
}


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"path": "nowhere"}, DataError, r"nowhere' does not exist"),
        ({"path": "UNIT"}, SignalError, r"edge a-b, source 'UNIT', field 'a': the data records unit 'kPa'"),
        ({"path": "RATE"}, SignalError, r"edge a-b, source 'RATE', field 'b': the data records rate 50"),
        ({"path": "TEXT"}, SignalError, r"edge a-b, source 'TEXT', field 'a': the data holds txt"),
        (
            {"path": "LONG"},
            SignalError,
            r"edge a-b, source 'LONG', field 'a': .*shape \(7,\).*large: npy of shape \(6,\)",
        ),
        ({"path": "FIELD"}, DataError, r"edge a-b, source 'FIELD': .* holds no field 'b'"),
        ({"path": "small", "split": "trian"}, DataError, r"source 'small': .*no split 'trian'. Did you mean 'train'"),
        ({"path": "small", "val_split": "held"}, DataError, r"source 'small': .*split data.val_split='held'"),
        ({"path": "small", "sensor": "digit"}, ConfigError, r"sensor='digit', and the encoder of neither a nor b"),
        ({"path": "small", "sensor": {"c": "x"}}, ConfigError, r"sensor of 'c': its encoder tells no sensors apart"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_by_name(
    settings: Settings, folders: Path, entry: dict[str, Any], error: type[Exception], message: str
) -> None:
    if entry["path"] in UNFIT:
        pack_pairs(map(UNFIT[entry["path"]], vector_pairs(6, EDGE)), folders / entry["path"], progress=False)
    recorded_as(folders / "small", folders / "UNIT", "a", unit="kPa")
    recorded_as(folders / "small", folders / "RATE", "b", rate=50.0)
    settings["edges"][0]["shards"] = [f"{folders}/large", {**entry, "path": f"{folders}/{entry['path']}"}]
    for verb in (plan_run, align_pairs):
        with pytest.raises(error, match=message):
            verb(run(settings), progress=False)
    assert not Path(settings["out"]).exists()


def test_values_of_another_scale_are_said(settings: Settings, folders: Path) -> None:
    rows = [{**row, "a": 500 * row["a"]} for split in ("train", "val") for row in vector_pairs(9, EDGE, split=split)]
    for name, factor in (("mm", 1000), ("m", 1)):
        pack_pairs([{**row, "a": row["a"] * factor} for row in rows], folders / name, progress=False)
    settings["edges"][0]["shards"] = [f"{folders}/mm", f"{folders}/m"]
    assert "of one unit? No index records it" in plan_run(run(settings), progress=False).text()


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([{"path": "a", "wieght": 2}], r"'edges.0.shards.0.wieght' is unknown. Did you mean 'weight'"),
        ([{"path": "a", "weight": 0}, "b"], r"'edges.0.shards.0.weight' is 0: give a number above 0"),
        ([{"path": "a", "weight": 1}, "b"], r"'b' has no weight and 'a' has one"),
        (["a", 3], r"'edges.0.shards.1' is 3"),
        (["a", "a"], r"'a' is listed 2 times"),
        ([], r"shards is empty"),
        ([{"weight": 1}], r"'edges.0.shards.0.path' is missing"),
        ([{"path": "a", "name": "x"}, {"path": "b", "name": "x"}], r"2 sources are called 'x'"),
        ({"path": "a"}, r"'edges.0.shards' is .*: write a list"),
    ],
)
def test_a_wrong_entry_is_named(settings: Settings, shards: Any, message: str) -> None:
    settings["edges"][0]["shards"] = shards
    with pytest.raises(ConfigError, match=message):
        run(settings)
