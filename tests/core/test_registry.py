"""Names have one owner; a plugin that fails leaves nothing behind; mistakes are answered with the right name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from conftest import TinyVector
from pairalign.core import registry
from pairalign.core.errors import RegistryError
from pairalign.core.registry import create_encoder, encoder_entries, find_encoder, load_plugin, register_encoder

PLUGIN = """
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder

@register_encoder("{name}")
class Mine(Encoder):
    signal = Signal("vector", (4,))
    def __init__(self, width: int = 8):
        super().__init__(width)
        self.net = nn.Linear(4, width)
    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
{more}
"""


def write(path: Path, name: str, more: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(PLUGIN.format(name=name, more=more))
    return path


def test_a_plugin_file_registers_its_encoder(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "mine")
    load_plugin(path)
    assert create_encoder("mine", width=16).width == 16
    assert "mine" in encoder_entries()
    assert str(path) in find_encoder("mine").owner
    load_plugin(path)  # again: the same owner


def test_the_built_in_encoders_are_found_without_importing_them() -> None:
    assert {"touch_cnn", "touch_vit", "pointnet2", "dgcnn", "series", "openclip_image", "hf_text"} <= set(
        encoder_entries()
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [("touch_cn", "Did you mean 'touch_cnn'"), ("quux", "Pass your own file with --plugin")],
)
def test_an_unknown_name_gets_a_suggestion(name: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        find_encoder(name)


def test_an_unknown_option_gets_a_suggestion() -> None:
    with pytest.raises(RegistryError, match=r"has no option 'widht'\. Did you mean 'width'"):
        create_encoder("tiny_vector", widht=3)


def test_two_files_with_one_name_clash_and_both_are_named(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one" / "p.py", "mine"), write(tmp_path / "two" / "p.py", "mine", "other = 1")
    load_plugin(one)
    with pytest.raises(RegistryError) as clash:
        load_plugin(two)
    assert str(one) in str(clash.value)
    assert str(two) in str(clash.value)
    assert str(one) in find_encoder("mine").owner  # the first one stays


def test_a_name_of_an_installed_package_clashes(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"touch_cnn.*pairalign_touch"):
        load_plugin(write(tmp_path / "mine.py", "touch_cnn"))


def test_two_installed_packages_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("glove", f"{package}:Glove", registry.GROUP) for package in ("acme", "other")]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    with pytest.raises(RegistryError, match=r"acme:Glove.*other:Glove"):
        find_encoder("glove")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("raise ValueError('no glove')", "ValueError: no glove"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("(", "S"),
    ],
)
def test_a_plugin_that_raises_registers_nothing(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(RegistryError, match=r"mine\.py' raises on import: " + words):
        load_plugin(write(tmp_path / "mine.py", "mine", more))
    with pytest.raises(RegistryError, match="not registered"):
        find_encoder("mine")


def test_a_missing_plugin_and_a_wrong_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is no file"):
        load_plugin(tmp_path / "no.py")
    for name in ("Glove", "my-glove", ""):
        with pytest.raises(RegistryError, match="lower-case Python identifier"):
            register_encoder(name)


def test_what_is_no_encoder_is_refused() -> None:
    register_encoder("thing")(type("Thing", (), {}))
    with pytest.raises(RegistryError, match=r"no class derived from pairalign\.Encoder"):
        create_encoder("thing")


def test_the_same_class_may_register_again() -> None:
    register_encoder("again")(TinyVector)
    register_encoder("again")(TinyVector)
    assert create_encoder("again").width == 16
