"""An encoder to begin with and its test, for each kind of signal."""

from __future__ import annotations

from typing import NamedTuple

from pairalign.core.errors import ConfigError


class Start(NamedTuple):
    """What a signal is, the lines in which encoders of two kinds differ, and the options of `pairalign data pack`."""

    what: str
    signal: str
    net: str
    tokens: str
    pack: str


KINDS = {
    "series": Start(
        "channels over time",
        'Signal("series", (16, 100), unit="kPa", rate=100.0, axes=("taxel", "time"))',
        "nn.Conv1d(16, width, kernel_size=9, stride=4)",
        "self.net(batch).transpose(1, 2)",
        "--unit {name}=kPa --rate {name}=100",
    ),
    "image": Start(
        "a picture, as a gel's",
        'Signal("image", (48, 48, 3), axes=("height", "width", "channel"))',
        "nn.Conv2d(3, width, kernel_size=8, stride=8)",
        "self.net(batch.movedim(-1, 1) / 255).flatten(2).transpose(1, 2)",
        "",
    ),
    "points": Start(
        "a cloud of points",
        'Signal("points", (256, 3), unit="m", axes=("point", "coordinate"))',
        "nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width))",
        "self.net(batch)",
        "--unit {name}=m",
    ),
    "vector": Start(
        "a list of numbers",
        'Signal("vector", (24,), unit="N")',
        "nn.Linear(24, width)",
        "self.net(batch)[:, None]",
        "--unit {name}=N",
    ),
}
PARTNERS = ("image", "text")  # what a project's recordings pair a signal with
TEMPLATE = '''"""The {name} encoder. Try it: pairalign encoders check {name} --plugin {name}.py"""

from torch import nn

from pairalign import Encoder, Features, Signal, register_encoder


@register_encoder("{name}")
class {title}(Encoder):
    """Say what the sensor measures."""

    signal = {signal}
    card = {{"licence": "yours", "preprocessing": "none", "sources": ["your recordings"]}}

    def __init__(self, width: int = 128):
        super().__init__(width)
        self.net = {net}

    def forward(self, batch):
        tokens = {tokens}
        return Features(tokens, tokens.mean(1))
'''
TEST = '''"""The {name} encoder keeps every promise of the contract."""

from pathlib import Path

from pairalign.core.contract import check_encoder
from pairalign.core.registry import create_encoder, load_plugin


def test_{name}_keeps_the_contract():
    load_plugin(Path(__file__).with_name("{name}.py"))
    broken = [promise for promise in check_encoder(create_encoder("{name}")) if not promise.kept]
    assert not broken, broken
'''


def encoder_files(name: str, kind: str) -> dict[str, str]:
    """NAME.py and test_NAME.py, by file name. Raises `ConfigError` for a name that Python cannot have."""
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(f"name {name!r}: use a lower-case Python identifier, such as 'glove'.")
    _, signal, net, tokens, _ = KINDS[kind]
    title = name.title().replace("_", "")
    values = {"name": name, "title": title, "signal": signal, "net": net, "tokens": tokens}
    return {f"{name}.py": TEMPLATE.format(**values), f"test_{name}.py": TEST.format(**values)}
