"""One modality of a run, without the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from pairalign.align.modality import load_modality, read_scales
from pairalign.align.run import load_aligned
from pairalign.core.errors import CheckpointError, ConfigError, RegistryError


@pytest.fixture
def run(setup: Path, tmp_path: Path) -> Path:
    """A run in which nothing but touch can be built here any more."""
    shutil.copytree(setup / "demo" / "run", tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    told = yaml.safe_load(path.read_text())
    for name, modality in told["modalities"].items():
        if name != "touch":
            modality["encoder"] = "an_encoder_that_is_not_here"
    path.write_text(yaml.safe_dump(told))
    return tmp_path / "run"


def test_one_modality_loads_without_the_others(setup: Path, run: Path) -> None:
    whole, one = load_aligned(setup / "demo" / "run").aligner, load_modality(run, "touch")
    signal = torch.rand(3, *one.encoder.signal.shape)
    with torch.no_grad():
        found, expected = one.head(one.encoder(signal).pooled), whole.encode("touch", signal)
    assert torch.equal(found.shared, expected.shared)
    assert torch.equal(found.private, expected.private)
    assert read_scales(run) == {name: float(scale().detach()) for name, scale in whole.scales.items()}
    with pytest.raises(RegistryError, match=r"'an_encoder_that_is_not_here' is not registered"):
        load_aligned(run)


def test_what_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"modality 'tuch' is not aligned. Did you mean 'touch'"):
        load_modality(run, "tuch")
    (run / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"are damaged"):
        load_modality(run, "touch")
    (run / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is not finished"):
        load_modality(run, "touch")
