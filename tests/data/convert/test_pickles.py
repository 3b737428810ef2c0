"""The narrow door: what data needs passes in every protocol, and what could run a program does not."""

from __future__ import annotations

import codecs
import os
import pickle
import resource
import subprocess
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairalign.core.errors import DataError
from pairalign.data.convert.pickles import load_pickled_npy, load_tensor

VALUE = {
    "xyz": np.arange(12, dtype=np.float32).reshape(4, 3),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "text": ["a cup", "eine Schüssel"],
    "feat": [{"original": np.ones((1, 4), np.float16)}],
    "scalar": np.float32(1.5),
    "names": np.array(["a", "bc"]),
    "nested": np.array([{"x": (1, None, True)}, b"\xff\x00"], object),
    "set": {1, 2},
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_through_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.npy").write_bytes(pickle.dumps(VALUE, protocol=protocol))
    found = load_pickled_npy(tmp_path / "x.npy", True)
    assert found.keys() == VALUE.keys()
    for name, value in VALUE.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
        elif name == "feat":
            np.testing.assert_array_equal(found[name][0]["original"], value[0]["original"])
        else:
            assert found[name] == value
            assert type(found[name]) is type(value)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_files_of_both_numpys_are_read(tmp_path: Path, core: bytes) -> None:
    data = pickle.dumps(VALUE["xyz"], protocol=0)  # names as plain lines
    home = b"numpy._core" if b"numpy._core.multi" in data else b"numpy.core"
    (tmp_path / "x.npy").write_bytes(data.replace(home + b".multi", core + b".multi"))
    np.testing.assert_array_equal(load_pickled_npy(tmp_path / "x.npy", True), VALUE["xyz"])


class Call:
    """Pickles as a call."""

    def __init__(self, make: Any, *args: Any) -> None:
        self.call = make, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(crater: Path) -> dict[str, Any]:
    code = f"open({str(crater)!r}, 'w')"
    return {
        "system": Call(os.system, f"touch {crater}"),
        "popen": Call(subprocess.Popen, ["touch", str(crater)]),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, str(crater), "w"),
        "getattr": Call(getattr, "x", "upper"),
        "partial": Call(partial, os.mkdir, str(crater)),
        "loads": Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(crater)))),
        "memmap": Call(np.memmap, str(crater), "uint8", "w+", 0, (4,)),
        "fromfile": Call(np.fromfile, str(crater)),
        "savetxt": Call(np.savetxt, str(crater), [1.0]),
        "codec": Call(codecs.encode, "a", "zlib_codec"),
        "ordered": OrderedDict(a=1),
        "path": crater,
    }


@pytest.mark.parametrize("name", list(attacks(Path("x"))))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_other_name_is_refused_though_trusted(tmp_path: Path, name: str, protocol: int) -> None:
    attack = attacks(tmp_path / "crater")[name]
    inner = np.array([{"xyz": VALUE["xyz"], "bomb": attack}], object)  # deep inside, behind good data
    for number, value in enumerate((attack, {"xyz": attack}, inner)):
        path = tmp_path / f"{number}.npy"
        path.write_bytes(pickle.dumps(value, protocol=protocol))
        with pytest.raises(DataError, match=rf"{number}\.npy: the pickle wants .* refused"):
            load_pickled_npy(path, True)
        with pytest.raises(DataError, match="trust_pickles=true"):
            load_pickled_npy(path, False)
    np.save(tmp_path / "boxed.npy", np.array({"xyz": attack}, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"boxed\.npy: the pickle wants"):
        load_pickled_npy(tmp_path / "boxed.npy", True)
    assert not (tmp_path / "crater").exists()


def test_hand_written_codes_are_refused(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    codes = {
        "old": b"cos\nmkdir\n(S'" + str(crater).encode() + b"'\ntR.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
        "instance": b"(S'" + str(crater).encode() + b"'\nios\nmkdir\n.",
        "persistent": b"Pwhatever\n.",
        "extension": b"\x80\x02\x82\x01.",
    }
    for name, code in codes.items():
        (tmp_path / f"{name}.npy").write_bytes(code)
        with pytest.raises(DataError, match=rf"{name}\.npy"):
            load_pickled_npy(tmp_path / f"{name}.npy", True)
    assert not crater.exists()


@pytest.mark.parametrize("old", [False, True])
def test_tensors_of_both_archives_are_read(tmp_path: Path, old: bool) -> None:
    tensor = torch.arange(12, dtype=torch.float16).reshape(6, 2)
    torch.save(tensor, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    found = load_tensor(tmp_path / "x.pt")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.numpy())


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    "value", [{"a": torch.ones(2)}, torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse()]
)
def test_what_is_no_plain_tensor_is_named(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt: holds a"):
        load_tensor(tmp_path / "x.pt")


PUT = pickle.LONG_BINPUT + (2**31 - 1).to_bytes(4, "little")
ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntC\x01btR."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x04}" + PUT + b".", "a place 2147483647 in memory"),
        (b"\x80\x04" + ARRAY, "an array of a size"),
        (b"\x80\x04cbuiltins\nbytearray\n(I1000000000000\ntR.", "a bytearray of no bytes"),
        (b"\x80\x04cnumpy\nndarray\n(I1000000000000\ntR.", "an array that is made by a call"),
    ],
)
def test_a_pickle_that_promises_more_than_it_holds_makes_no_room_for_it(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=words):
        load_pickled_npy(tmp_path / "x.npy", True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**18  # KiB


def array_of(dtype: bytes, flags: bytes, values: bytes) -> bytes:
    """An array of shape (2,) as numpy pickles it, with a type, the type's state and values of one's own."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I2\nt"
    return b"\x80\x04" + made + b"cnumpy\ndtype\n(" + dtype + b"tR(" + flags + b"tb" + b"I00\n" + values + b"tb."


PLAIN = b"I3\nV|\nNNNI-1\nI-1\nI0\n"
OBJECTS = b"I3\nV|\nNNNI-1\nI-1\nI63\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (array_of(b"VO8\n", OBJECTS, b"V12\n"), r"shape \(2,\) and object of other values"),
        (array_of(b"VO8\n", OBJECTS, b"(I1\nl"), "of other values"),
        (array_of(b"Vf8\n", PLAIN, b"(I1\nI2\nl"), "and float64 of other values"),
        (array_of(b"Vf8\n", PLAIN, b"C\x08abcdefgh"), "and float64 of other values"),
        (array_of(b"Vf8,f8\n", PLAIN, b"C\x08abcdefgh"), "a type 'f8,f8'"),
        (array_of(b"VV8\n", b"I3\nV|\nNNNI8\nI8\nI63\n", b"C\x04abcd"), "other values"),
        (b"\x80\x04cnumpy\ndtype\n(Vf8\nI00\nI01\ntR(I3\nV<\n(Vf4\n(I9\nttNNI-1\nI-1\nI0\ntb.", "a type of arrays"),
        (b"\x80\x04cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(VO8\ntRC\x08abcdefghtR.", "a number of object"),
        (b"\x80\x04cnumpy\ndtype\n(N}V__setstate__\nNstb.", "is damaged"),
        (b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(N}V__doc__\nNstb.", "is damaged"),
    ],
)
def test_an_array_has_the_values_that_its_type_and_shape_say(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(DataError, match=words):
        load_pickled_npy(tmp_path / "x.npy", True)
    test_data_comes_through_in_every_protocol(tmp_path, 2)  # nothing of it stays behind


def test_columns_with_names_come_through(tmp_path: Path) -> None:
    cloud = np.zeros(3, [("x", "<f4"), ("y", ">f4"), ("ring", "<u2")])
    cloud["y"] = [1, 2, 3]
    (tmp_path / "x.npy").write_bytes(pickle.dumps({"cloud": cloud}, protocol=4))
    found = load_pickled_npy(tmp_path / "x.npy", True)["cloud"]
    assert found.dtype == cloud.dtype
    np.testing.assert_array_equal(np.asarray(found), cloud)


def test_a_tensor_whose_pickle_is_long_is_refused_before_torch_reads_it(tmp_path: Path) -> None:
    torch.save({f"layer.{n}": torch.ones(1) for n in range(300)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt: holds more than a tensor"):
        load_tensor(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(b"\x80\x02c" + b"a" * 2**15)
    with pytest.raises(DataError, match=r"x\.pt: holds more than a tensor"):
        load_tensor(tmp_path / "x.pt")
    for damaged in (b"", b"\x80\x02c"):
        (tmp_path / "x.pt").write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.pt: is no plain tensor \(ValueError"):
            load_tensor(tmp_path / "x.pt")
