"""Any array comes back equal, as native numbers, or is refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pairalign.core.errors import DataError
from pairalign.data.arrays import columns_of, plain_array, read_npy
from pairalign.data.decode import decode
from pairalign.data.encode import ImageFormat, encode
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples

NUMBERS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)
OTHERS = st.one_of(
    hnp.complex_number_dtypes(), hnp.datetime64_dtypes(), hnp.timedelta64_dtypes(), hnp.unicode_string_dtypes(),
    hnp.byte_string_dtypes(),
)  # fmt: skip


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@given(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_numbers_of_any_type_and_shape_come_back(
    dtype: np.dtype, shape: tuple[int, ...], fortran: bool, data: st.DataObject
) -> None:
    value = data.draw(hnp.arrays(dtype, shape))
    value = np.asfortranarray(value) if fortran else value
    for extension, stored in (("npy", npy(value)), encode(value, ImageFormat())):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            with pytest.raises(DataError, match="NaN or infinity"):
                decode(extension, stored)
            continue
        back = decode(extension, stored)
        assert back.dtype == value.dtype.newbyteorder("=")
        assert back.dtype.isnative
        assert back.flags.writeable
        np.testing.assert_array_equal(back.reshape(value.shape), value)
        assert torch.as_tensor(back).shape == back.shape


@given(OTHERS, hnp.array_shapes(max_dims=2, max_side=3), st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_no_number_is_refused_by_name(dtype: np.dtype, shape: tuple[int, ...], data: st.DataObject) -> None:
    value = data.draw(hnp.arrays(dtype, shape))
    for refused in (lambda: decode("npy", npy(value)), lambda: encode(value, ImageFormat())):
        with pytest.raises(DataError, match=r"an array of (complex numbers|dates|durations|words): .*store|pack"):
            refused()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([{}, None], object), "an array of Python objects"),
        (np.zeros(3, "V4"), "raw bytes"),
        (np.zeros(3, np.longdouble), "convert it to float64"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "a masked array"),
        (torch.zeros(2, dtype=torch.complex64), "complex numbers"),
        (torch.zeros(3, 3).to_sparse(), "cannot be stored"),
        ([10**30, 1], "the numbers do not fit"),
    ],
)
def test_other_things_are_refused_with_the_fix(value: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        encode(value, ImageFormat())


def test_a_file_of_objects_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="an array of Python objects: stack"):
        decode("npy", npy(np.array([{}], object), allow_pickle=True))


def test_subclasses_and_views_are_stored_as_what_they_hold(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "m", np.float32, "w+", shape=(3, 2))
    mapped[:] = np.arange(6).reshape(3, 2)
    for value in (
        mapped,
        np.matrix("1 2; 3 4"),
        np.ma.array([1.0, 2.0]),
        np.arange(10)[::-3],
        torch.ones(2).bfloat16(),
    ):
        found = np.asarray(value.float() if isinstance(value, torch.Tensor) else value)
        np.testing.assert_array_equal(decode(*encode(value, ImageFormat())), found)


def test_a_header_that_promises_more_than_is_there_is_refused_at_once() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 20)})
    with pytest.raises(DataError, match="the header promises 9223372036854775808 bytes"):
        read_npy(stream.getvalue() + b"\0" * 80)


def test_numbers_of_a_manifest_are_kept_in_full() -> None:
    stamps = [1700000000.125, 1700000000.158]
    assert decode(*encode(stamps, ImageFormat())).tolist() == stamps
    assert decode(*encode([2**53 + 1], ImageFormat())).tolist() == [2**53 + 1]
    assert decode(*encode(5, ImageFormat())).tolist() == [5.0]
    assert decode(*encode([[1, 2.5]], ImageFormat())).dtype == np.float64


def cloud(**types: str) -> np.ndarray:
    array = np.zeros(4, [(name, kind) for name, kind in types.items()])
    for n, name in enumerate(array.dtype.names or ()):
        array[name] = np.arange(4) + 10 * n
    return array


def test_a_named_cloud_becomes_columns_in_the_order_that_is_told() -> None:
    table = columns_of(cloud(intensity="f4", z="f4", y=">f4", x="f4"))
    np.testing.assert_array_equal(table[0], [30, 20, 10, 0])
    assert table.dtype == np.float32
    assert plain_array(cloud(x="f8", y="f8", z="f8")).dtype == np.float64
    grid = cloud(x="f4", y="f4", z="f4").reshape(2, 2)
    assert columns_of(grid).shape == (4, 3)


def test_a_colour_packed_into_one_number_becomes_three() -> None:
    array = cloud(x="f4", y="f4", z="f4", rgb="f4")
    array["rgb"] = np.array([0x102030, 0xFF0001, 0, 0xFFFFFF], np.uint32).view(np.float32)
    np.testing.assert_array_equal(columns_of(array)[:, 3:], [[16, 32, 48], [255, 0, 1], [0, 0, 0], [255, 255, 255]])


def test_padding_between_fields_is_no_field() -> None:
    dtype = np.dtype({"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [0, 4, 8], "itemsize": 16})
    assert columns_of(np.ones(5, dtype)).shape == (5, 3)


@pytest.mark.parametrize("names", [("x", "y", "z", "ring"), ("lat", "lon"), ("stamp", "force")])
def test_fields_without_a_known_meaning_are_refused_by_name(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=rf"the fields {', '.join(names)}.* has none"):
        plain_array(cloud(**dict.fromkeys(names, "f4")))


def test_a_structured_file_is_packed_and_read_as_a_table(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", cloud(x="f4", y="f4", z="f4", intensity="f4"))
    index = pack_pairs([{"points": tmp_path / "a.npy", "text": "a scan"}], tmp_path / "out", progress=False)
    assert index.modalities["points"].shape == (4, 4)
    value = next(iter(read_samples(tmp_path / "out", "train", ["points"]))).values["points"]
    np.testing.assert_array_equal(value[1], [1, 11, 21, 31])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.eye(4).to_sparse(), "a tensor of torch.float32 cannot be stored"),
        (torch.empty(3, device="meta"), "cannot be stored"),
        (np.array(["2024-01-01"], "M8[s]"), "an array of dates"),
        (np.zeros((0, 3)), r"the array of shape \(0, 3\) is empty"),
        (np.array([1.0, np.nan]), "NaN or infinity in 1 of 2"),
    ],
)
def test_a_value_that_cannot_be_stored_is_a_bad_sample_with_its_key(tmp_path: Path, value: Any, words: str) -> None:
    fine = {"key": "fine", "touch": np.arange(3.0), "text": "b"}
    with pytest.raises(DataError, match=f"sample 'odd': touch: .*{words}"):
        pack_pairs([{"key": "odd", "touch": value, "text": "a"}, fine], tmp_path / "a", progress=False)
    rows = [{"key": "odd", "touch": value, "text": "a"}, fine]
    index = pack_pairs(rows, tmp_path / "b", on_bad="skip", progress=False)
    assert [key for key, _ in index.skipped] == ["odd"]


def test_half_and_brain_floats_are_packed(tmp_path: Path) -> None:
    value = torch.randn(8).bfloat16()
    pack_pairs([{"key": "a", "touch": value, "text": "a"}], tmp_path / "a", progress=False)
    found = next(iter(read_samples(tmp_path / "a", "train", ["touch"]))).values["touch"]
    np.testing.assert_array_equal(found, value.float().numpy())
    assert decode(*encode(np.float32(0.1), ImageFormat())).dtype == np.float32
