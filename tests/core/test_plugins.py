"""A plugin and its neighbours as one thing: what belongs to it, that each gets its own, and how code is hashed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import TinyVector
from pairalign.core.encoder import Encoder
from pairalign.core.errors import RegistryError
from pairalign.core.plugins import read_plugin, source_hash
from pairalign.core.registry import create_encoder, load_plugin

PLUGIN = """
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder
import knit

@register_encoder("{name}")
class Glove(Encoder):
    signal = Signal("vector", (4,))
    def __init__(self):
        super().__init__(knit.WIDTH)
        self.net = nn.Linear(4, knit.WIDTH)
    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
"""


def write(folder: Path, name: str, width: int) -> Path:
    folder.mkdir()
    (folder / "knit.py").write_text(f"from yarn.wool import thick\nWIDTH = thick({width})\n")
    (folder / "yarn").mkdir()
    (folder / "yarn" / "__init__.py").write_text("")
    (folder / "yarn" / "wool.py").write_text("def thick(n): return n\n")
    (folder / "other.py").write_text("raise SystemExit\n")
    (folder / f"{name}.py").write_text(PLUGIN.format(name=name))
    return folder / f"{name}.py"


def test_a_plugin_is_the_files_it_imports_and_no_others(tmp_path: Path) -> None:
    path = write(tmp_path / "one", "glove", 3)
    found = read_plugin(path)
    assert set(found.files) == {"glove.py", "knit.py", "yarn/__init__.py", "yarn/wool.py"}
    before = found.sha256
    (tmp_path / "one" / "other.py").write_text("")
    assert read_plugin(path).sha256 == before
    (tmp_path / "one" / "yarn" / "wool.py").write_text("def thick(n): return n + 1\n")
    assert read_plugin(path).sha256 != before
    with pytest.raises(RegistryError, match="is no file"):
        read_plugin(tmp_path / "two.py")


def test_plugins_whose_neighbours_have_one_name_get_each_their_own(tmp_path: Path) -> None:
    for name, width in (("left_glove", 3), ("right_glove", 5)):
        load_plugin(write(tmp_path / name, name, width))
    assert [create_encoder(name).width for name in ("left_glove", "right_glove")] == [3, 5]
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_same_bytes_elsewhere_are_the_same_plugin(tmp_path: Path) -> None:
    load_plugin(write(tmp_path / "here", "mitten", 3))
    load_plugin(write(tmp_path / "there", "mitten", 3))
    with pytest.raises(RegistryError, match="claimed twice"):
        load_plugin(write(tmp_path / "elsewhere", "mitten", 4))


def test_a_class_is_told_by_its_source_and_that_of_its_parents() -> None:
    class Twice(TinyVector):
        pass

    class Thrice(TinyVector):
        factor = 3

    assert source_hash(TinyVector, Encoder) == source_hash(TinyVector, Encoder)
    assert len({source_hash(cls, Encoder) for cls in (TinyVector, Twice, Thrice)}) == 3
