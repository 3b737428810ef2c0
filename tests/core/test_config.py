"""Configurations: strict keys with "did you mean", dotted overrides, and YAML that comes back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairalign.core.config import AlignConfig, load_config, to_dict, to_yaml
from pairalign.core.errors import ConfigError

MINIMAL: dict[str, Any] = {
    "modalities": {"image": {"encoder": "touch_cnn"}, "touch": {"encoder": "touch_cnn", "options": {"size": 32}}},
    "edges": [{"between": ["image", "touch"], "shards": "pairs"}],
    "out": "runs/x",
}


def test_yaml_comes_back_equal(tmp_path: Path) -> None:
    config = load_config(AlignConfig, MINIMAL, ["train.lr=3e-4", "data.val_split=null"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert load_config(AlignConfig, tmp_path / "c.yaml") == config
    assert config.train.lr == 3e-4
    assert config.data.val_split is None


@given(st.floats(1e-6, 1.0), st.integers(1, 10_000), st.booleans())
def test_overrides_set_exactly_what_they_say(lr: float, steps: int, gates: bool) -> None:
    overrides = [f"train.lr={lr!r}", f"train.steps={steps}", f"loss.gates={str(gates).lower()}"]
    config = load_config(AlignConfig, MINIMAL, overrides)
    assert (config.train.lr, config.train.steps, config.loss.gates) == (lr, steps, gates)
    assert to_dict(config)["latent"] == to_dict(load_config(AlignConfig, MINIMAL))["latent"]


def test_overrides_reach_options_and_lists() -> None:
    config = load_config(AlignConfig, MINIMAL, ["modalities.touch.options.size=48", "edges.0.weight=2"])
    assert config.modalities["touch"].options == {"size": 48}
    assert config.edges[0].weight == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.lrr=1"], r"'train.lrr' is unknown. Did you mean 'lr'"),
        (["modalities.touch.tun=all"], r"Did you mean 'tune'"),
        (["train.steps=many"], r"'train.steps' is 'many'"),
        (["train.steps"], r"section.key=value"),
        (["edges.3.weight=1"], r"'3' is no position in a list of 1"),
        (["seed.x=1", "seed.x.y=2"], r"'seed'|'x' is a value"),
        (["loss.similarity=dot"], r"'loss.similarity' is 'dot'"),
    ],
)
def test_bad_settings_name_key_value_and_fix(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(AlignConfig, MINIMAL, overrides)


def test_missing_key_missing_file_and_bad_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'out' is missing"):
        load_config(AlignConfig, {k: v for k, v in MINIMAL.items() if k != "out"})
    with pytest.raises(ConfigError, match="is no file"):
        load_config(AlignConfig, tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(AlignConfig, tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="list, not a mapping"):
        load_config(AlignConfig, tmp_path / "list.yaml")


def test_the_source_mapping_is_left_alone() -> None:
    before = str(MINIMAL)
    load_config(AlignConfig, MINIMAL, ["modalities.touch.options.size=99"])
    assert str(MINIMAL) == before
