"""What a raw cloud may be, what is refused of it, and that no point, colour or axis is taken for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.align.cache import open_or_build
from pairalign.align.model import build_aligner
from pairalign.align.run import align_pairs, build_datasets, load_aligned
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.pool import encode_pool
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Task
from pairalign_pointcloud.columns import parse_columns
from pairalign_pointcloud.upright import UPS, as_up, turn_between

SMALL: dict[str, Any] = {"points": 64, "width": 16, "channels": 8, "groups": [16, 4], "neighbours": [6, 4]}


def net(**options: Any) -> Encoder:
    return create_encoder("pointnet2", **{**SMALL, **options})


def cloud(size: int = 200, seed: int = 0, columns: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, columns)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def structured(xyz: np.ndarray, **more: np.ndarray) -> np.ndarray:
    fields = dict(zip("xyz", xyz.T, strict=True)) | more
    made = np.zeros(len(xyz), [(name, np.asarray(column).dtype) for name, column in fields.items()])
    for name, column in fields.items():
        made[name] = column
    return made


def test_channels_first_gives_the_same_points() -> None:
    assert net().preprocess(cloud().T).equal(net().preprocess(cloud()))


@pytest.mark.parametrize("shape", [(3, 3), (3, 7), (7, 3), (9, 9)])
def test_a_cloud_either_axis_of_which_may_count_the_points_is_refused(shape: tuple[int, int]) -> None:
    raw = np.random.default_rng(0).standard_normal(shape)
    with pytest.raises(SignalError, match=r"either axis may count the points.*axes: \[point, coordinate\]"):
        net().preprocess(raw)
    rows = net(axes=["point", "coordinate"]).preprocess(raw)
    assert len(rows.unique(dim=0)) == shape[0]
    columns = net(axes=["coordinate", "point"]).preprocess(raw)
    assert len(columns.unique(dim=0)) == shape[1]


@pytest.mark.parametrize(
    ("recorded", "points"),
    [
        ({"shape": (None, 3)}, 3),
        ({"shape": (3, None)}, 3),
        ({"axes": ("point", "xyz"), "shape": (3, 3)}, 3),
        ({"axes": ("coordinate", "points"), "shape": (3, 3)}, 3),
    ],
)
def test_the_axis_is_decided_for_the_whole_modality(recorded: dict[str, Any], points: int) -> None:
    encoder, raw = net(), cloud(3)
    encoder.check_data(recorded, "edge a-b")
    first = recorded.get("axes", ("point",))[0] == "point" and recorded["shape"][0] != 3
    rows = raw if first or recorded.get("axes", ("",))[0] == "point" else raw.T
    found = encoder.preprocess(encoder.conform(raw, recorded)).unique(dim=0)
    torch.testing.assert_close(found, torch.from_numpy(np.ascontiguousarray(rows)).unique(dim=0))


def test_an_index_that_does_not_tell_is_refused_before_training() -> None:
    with pytest.raises(SignalError, match=r"edge a-b: point cloud of shape \(3, 3\): either axis"):
        net().check_data({"shape": (3, 3), "axes": None}, "edge a-b")
    with pytest.raises(SignalError, match=r"edge a-b: point cloud: has the columns x, y, z and no nx, ny, nz"):
        net(normals=True).check_data({"axes": ("point", "xyz"), "shape": (None, 3)}, "edge a-b")


def test_recorded_columns_are_found_by_name() -> None:
    normals, colours = unit(cloud(seed=1)), np.random.default_rng(2).integers(0, 256, (200, 3))
    raw = np.concatenate([cloud(), colours, normals], 1)
    recorded = {"axes": ("point", "xyzrgbnormal")}
    encoder = net(columns="xyznormal")
    found = encoder.preprocess(encoder.conform(raw, recorded))
    assert found.equal(encoder.preprocess(np.concatenate([cloud(), normals], 1)))
    both = net(columns="xyzrgb")
    assert float(both.preprocess(both.conform(raw, recorded))[:, 3:].max()) == pytest.approx(colours.max() / 255)


def test_places_alone_may_be_recorded_of_clouds_with_more_columns() -> None:
    raw, recorded = np.concatenate([cloud(), unit(cloud(seed=1))], 1), {"axes": ("point", "xyz"), "shape": (None, 6)}
    encoder = net(normals=True)
    assert encoder.check_data(recorded, "edge a-b") == []
    assert encoder.preprocess(encoder.conform(raw, recorded)).equal(encoder.preprocess(raw))
    assert net().preprocess(net().conform(raw, recorded)).equal(net().preprocess(raw))


def test_colours_do_not_pass_as_normals() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (200, 3))
    raw = np.concatenate([cloud(), colours], 1)
    with pytest.raises(
        SignalError, match=r"columns 4 to 6 are to be normals of length 1.*point \d+ has .*columns='xyzrgb'"
    ):
        net(normals=True).preprocess(raw)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours_in_bytes_and_in_fractions_are_the_same(dtype: type) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (200, 3))
    encoder = net(columns="xyzrgb")
    whole = structured(
        cloud(), **{name: colours[:, i].astype(dtype) for i, name in enumerate(("red", "green", "blue"))}
    )
    fractions = np.concatenate([cloud(), colours / 255], 1)
    torch.testing.assert_close(encoder.preprocess(whole), encoder.preprocess(fractions))
    view = encoder.augment(encoder.preprocess(fractions), torch.Generator().manual_seed(0))
    assert view[:, 3:].equal(encoder.preprocess(fractions)[:, 3:])  # no rotation turns a colour


@pytest.mark.parametrize(("worst", "told"), [(-0.25, "-0.25"), (1.5, "1.5"), (65535.0, "65535")])
def test_a_colour_that_is_neither_is_refused_with_its_value(worst: float, told: str) -> None:
    colours = np.full((200, 3), 0.5)
    colours[7, 1] = worst
    with pytest.raises(SignalError, match=f"holds a colour of {told}, colours go from 0 to"):
        net(columns="xyzrgb").preprocess(np.concatenate([cloud(), colours], 1))


def test_a_dark_cloud_can_be_said_to_be_in_bytes() -> None:
    raw = np.concatenate([cloud(), np.ones((200, 3))], 1)
    assert float(net(columns="xyzrgb").preprocess(raw)[:, 3:].max()) == 1
    assert float(net(columns="xyzrgb", colours="bytes").preprocess(raw)[:, 3:].max()) == pytest.approx(1 / 255)


def test_structured_arrays_are_read_by_field_and_packed_colour_is_unpacked() -> None:
    encoder = net()
    named = structured(cloud(), intensity=np.arange(200, dtype=np.float32))
    assert encoder.preprocess(named).equal(encoder.preprocess(cloud()))
    swapped = named[["z", "x", "intensity", "y"]]
    assert encoder.preprocess(swapped).equal(encoder.preprocess(cloud()))
    big = named.astype([(name, ">f8") for name in named.dtype.names or ()])
    assert encoder.preprocess(big).equal(encoder.preprocess(cloud()))
    packed = np.full(200, (10 << 16) + (20 << 8) + 30, np.uint32).view(np.float32)
    found = net(columns="xyzrgb").preprocess(structured(cloud(), rgb=packed))
    torch.testing.assert_close(found[0, 3:], torch.tensor([10, 20, 30]) / 255)
    with pytest.raises(SignalError, match="has no z"):
        encoder.preprocess(named[["x", "y"]])


def test_dicts_and_graphs_are_read() -> None:
    from torch_geometric.data import Data

    normals, encoder = unit(cloud(seed=1)), net(normals=True)
    wanted = encoder.preprocess(np.concatenate([cloud(), normals], 1))
    assert encoder.preprocess({"points": cloud(), "normals": normals}).equal(wanted)
    data = Data(pos=torch.from_numpy(cloud()), normal=torch.from_numpy(normals))
    assert encoder.preprocess(data).equal(wanted)


def test_points_with_nan_are_refused_or_dropped_as_told() -> None:
    raw = cloud()
    raw[5, 1], raw[9, 0] = np.nan, np.inf
    with pytest.raises(SignalError, match="2 of 200 points hold NaN or infinity"):
        net().preprocess(raw)
    kept = np.delete(raw, [5, 9], 0)
    assert net(nonfinite="drop").preprocess(raw).equal(net().preprocess(kept))
    with pytest.raises(SignalError, match="200 of 200"):
        net(nonfinite="drop").preprocess(np.full((200, 3), np.nan))


@pytest.mark.parametrize("normalize", ["none", "centre", "unit_ball"])
@pytest.mark.parametrize("name", ["pointnet2", "dgcnn"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_follow_each_other_in_turn_and_give_numbers(name: str, count: int, normalize: str) -> None:
    torch.manual_seed(0)
    encoder = create_encoder(name, points=64, width=16, normalize=normalize, axes=["point", "xyz"])
    value = encoder.preprocess(cloud(count))
    rows, times = value.unique(dim=0, return_counts=True)
    assert len(rows) == count
    assert int(times.max() - times.min()) <= 1
    encoder.train()
    features = encoder(torch.stack([value, encoder.preprocess(cloud(100))]))
    features.pooled.sum().backward()
    assert features.pooled.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


def test_duplicates_do_not_take_the_place_of_other_points() -> None:
    raw = np.concatenate([np.repeat(cloud(1), 5000, 0), cloud(63, seed=1)])
    rows, times = net().preprocess(raw).unique(dim=0, return_counts=True)
    assert len(rows) == 64
    assert int(times.max()) == 1


@pytest.mark.parametrize("place", [0.0, 0.1, 1000.1])
def test_points_all_in_one_place_have_no_radius(place: float) -> None:
    raw = np.full((50, 3), place)
    assert net(normalize="unit_ball").preprocess(raw).equal(torch.zeros(64, 3))
    assert net().preprocess(raw).unique().tolist() == [np.float32(place)]
    assert net(normalize="unit_ball").eval()(torch.zeros(2, 64, 3)).pooled.isfinite().all()


def test_map_coordinates_in_64_bits_keep_their_shape() -> None:
    here = cloud().astype(np.float64)
    away = here + np.array([512_345.25, 5_403_210.5, 311.0])
    found = net().preprocess(away)
    torch.testing.assert_close(found, net(normalize="centre").preprocess(here), atol=1e-5, rtol=0)
    assert net().preprocess(here + 2).equal(net().preprocess((here + 2).astype(np.float32)))  # place stays


@pytest.mark.parametrize("there", UPS)
@pytest.mark.parametrize("here", UPS)
def test_turns_take_one_axis_to_the_other_and_are_rotations(here: str, there: str) -> None:
    axes = {name: np.eye(3)["xyz".index(name[1])] * (1 if name[0] == "+" else -1) for name in UPS}
    turn = turn_between(here, there)
    np.testing.assert_allclose(turn @ axes[here], axes[there])
    np.testing.assert_allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_clouds_are_turned_to_the_axis_of_the_option_with_their_normals() -> None:
    encoder = net(normals=True, up="z")
    raw = np.concatenate([cloud(), unit(cloud(seed=1))], 1)
    turn = turn_between("+y", "+z").T
    wanted = np.concatenate([raw[:, :3] @ turn, raw[:, 3:] @ turn], 1)
    found = encoder.preprocess(encoder.conform(raw, {"up": "+y"}))
    torch.testing.assert_close(found, encoder.preprocess(wanted))
    assert encoder.preprocess(encoder.conform(raw, {"up": "+z"})).equal(encoder.preprocess(raw))
    assert encoder.check_data({"up": "+y"}, "edge a-b") == [
        "note: edge a-b: records up=+y, the encoder's is +z: its clouds are turned."
    ]
    with pytest.raises(SignalError, match=r"up='\+w'. Known: "):
        encoder.check_data({"up": "+w"}, "edge a-b")
    assert as_up("y", "x") == "+y"


def pairs(folder: Path, up: str | None, split: str = "train") -> Path:
    """Twelve pairs of one and the same clouds, which stand as `up` says."""
    turn = turn_between("+z", up or "+z")
    rows = [
        {"key": f"k{i}", "a": np.arange(6, dtype=np.float32) + i, "p": cloud(80, seed=i) @ turn.T, "split": split}
        for i in range(12)
    ]
    facts = {"p": {"axes": ("point", "xyz"), "up": up}} if up else {}
    pack_pairs(rows, folder, units=facts, progress=False)
    return folder


def config(root: Path, shards: str, **options: Any) -> AlignConfig:
    return load_config(
        AlignConfig,
        {
            "modalities": {
                "a": {"encoder": "tiny_vector"},
                "p": {"encoder": "pointnet2", "options": {**SMALL, **options}},
            },
            "edges": [{"between": ["a", "p"], "shards": shards}],
            "out": str(root / "run"),
            "latent": {"shared": 8, "private": 4, "hidden": 16},
            "train": {"steps": 2, "batch_size": 4, "accelerator": "cpu"},
            "data": {"root": str(root), "val_split": None},
        },
    )


def test_what_training_met_is_the_axis_for_other_data_too(tmp_path: Path) -> None:
    pairs(tmp_path / "y", "+y")
    pairs(tmp_path / "z", "+z", "test")
    pairs(tmp_path / "y-test", "+y", "test")
    run = align_pairs(config(tmp_path, "y"), progress=False)
    again = load_aligned(run.folder)
    assert again.aligner.encoder("p").upright == "+y"
    same, other = (encode_pool(again, tmp_path / name, progress=False).latents["p"] for name in ("y-test", "z"))
    torch.testing.assert_close(same.shared, other.shared, atol=1e-4, rtol=1e-4)


def test_folders_that_stand_otherwise_are_turned_to_the_first_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, up in (("y", "+y"), ("z", "+z")):
        pairs(tmp_path / name, up)
    asked = config(tmp_path, "y", jitter=0.0)
    told = {"a": asked.modalities["a"], "b": asked.modalities["a"], "p": asked.modalities["p"]}
    edges = (asked.edges[0], replace(asked.edges[0], between=("b", "p"), shards="z"))
    told["b"] = replace(told["b"], source="a")
    asked = replace(asked, modalities=told, edges=edges)
    datasets = build_datasets(asked, build_aligner(asked), progress=False)["train"]
    assert "edge b-p, field 'p': records up=+z, the encoder's is +y: its clouds are turned." in capsys.readouterr().err
    values = [
        dict(zip(b.keys, b.b.value, strict=True)) for b in (next(iter(datasets[name])) for name in ("a-p", "b-p"))
    ]
    shared = values[0].keys() & values[1].keys()
    assert shared
    for key in shared:
        torch.testing.assert_close(values[0][key], values[1][key], atol=1e-5, rtol=0)


def test_reading_and_views_look_at_no_weight() -> None:
    """A loader's forked worker cannot look at a GPU, where the encoder is; nor at "meta", here."""
    encoder = net(rotate="up")
    encoder.check_data({"up": "+y"}, "edge a-b", learn=True)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.to("meta")
    value = encoder.preprocess(encoder.conform(cloud(), {"up": "+z"}))
    view = encoder.augment(value, torch.Generator().manual_seed(0))
    torch.testing.assert_close(view[:, [0, 2]].norm(dim=1), value[:, [0, 2]].norm(dim=1), atol=0.1, rtol=0)
    again = net()
    again.load_state_dict(state)
    assert again.upright == "+y"


def test_cached_features_and_questions_are_of_turned_clouds_too(tmp_path: Path) -> None:
    encoder = net(up="z").eval()
    encoder.tune("none")
    features, asked = [], []
    for name, up in (("y", "+y"), ("z", "+z")):
        folder = pairs(tmp_path / name, up)
        cache = open_or_build(tmp_path / f"cache-{name}", encoder, {}, folder, "train", "p", progress=False)
        features.append(torch.stack([cache.view(f"k{i}", None) for i in range(12)]))
        task = Task("t", TaskConfig(shards=name, prompt="{p} what?", answer="a cup"), tmp_path, ["p"])
        task.check_signals({"p": SimpleNamespace(encoder=encoder)})  # type: ignore[dict-item]
        told = {example.key: example.parts for example in task.read()}
        raws = [next(part["p"] for part in told[f"k{i}"] if part["type"] == "p") for i in range(12)]
        asked.append(torch.stack([encoder.preprocess(raw) for raw in raws]))
    torch.testing.assert_close(features[0], features[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(asked[0], asked[1], atol=1e-5, rtol=0)


def test_weights_of_before_have_no_axis_and_turn_nothing() -> None:
    state = {name: value for name, value in net().state_dict().items() if name != "learnt_up"}
    encoder = net()
    encoder.load_state_dict(state)
    assert encoder.upright is None
    assert encoder.preprocess(encoder.conform(cloud(), {"up": "+y"})).equal(encoder.preprocess(cloud()))


def test_plan_and_training_read_the_same(tmp_path: Path) -> None:
    pairs(tmp_path / "y", "+y")
    asked = config(tmp_path, "y", up="z", jitter=0.0)
    aligner = build_aligner(asked)
    dataset = build_datasets(asked, aligner, progress=False)["train"]["a-p"]
    batch = next(iter(dataset))
    encoder = aligner.encoder("p")
    wanted = encoder.preprocess(cloud(80, seed=int(batch.keys[0][1:])))
    torch.testing.assert_close(batch.b.value[0], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"columns": "xyzr"}, "a network reads one of xyz, xyznormal"),
        ({"columns": "xyzrgb", "normals": True}, "holds no normals"),
        ({"axes": ["row", "column"]}, "give \\[point, coordinate\\]"),
        ({"up": "w"}, "up='w'"),
        ({"colours": "byte"}, "Did you mean 'bytes'"),
        ({"nonfinite": "skip"}, "nonfinite='skip'"),
        ({"points": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        net(**options)


def test_words_for_columns() -> None:
    assert parse_columns("x, y, z, nx, ny, nz") == parse_columns("xyznormal")
    assert parse_columns("xyz_rgb") == tuple("xyzrgb")
    assert parse_columns("coordinate") is parse_columns("time") is parse_columns("zyx") is None


ANY = {columns: net(columns=columns) for columns in ("xyz", "xyznormal", "xyzrgb")}
NUMBERS = ["u1", "i4", "f2", "f4", ">f8", "?", "c8", "U3", "O", "M8[s]"]


@settings(max_examples=100, deadline=None)
@given(
    dtype=st.sampled_from(NUMBERS),
    shape=st.lists(st.integers(0, 12), max_size=3),
    fill=st.sampled_from([0.0, 1.0, 0.5, -3.0, np.nan, np.inf, 300.0]),
    columns=st.sampled_from(list(ANY)),
    form=st.sampled_from(["array", "list", "dict", "tensor"]),
)
def test_anything_else_is_refused_by_a_deliberate_error(
    dtype: str, shape: list[int], fill: float, columns: str, form: str
) -> None:
    with np.errstate(invalid="ignore"):
        array = np.full(shape, fill).astype("f8").astype("M8[s]" if dtype == "M8[s]" else dtype)
    raws: dict[str, Any] = {"list": array.tolist(), "dict": {"points": array, "colors": array}}
    raw = raws.get(form, array)
    if form == "tensor":
        if array.dtype.kind not in "biuf":
            return
        raw = torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).to(torch.bfloat16)
    encoder = ANY[columns]
    try:
        value = encoder.preprocess(raw)
    except SignalError:
        return
    encoder.signal.check(value, "preprocess()")


def test_rows_of_unequal_length_are_refused() -> None:
    with pytest.raises(SignalError, match="is no array"):
        net().preprocess([[1.0, 2, 3], [4, 5]])
