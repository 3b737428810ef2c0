"""A bridge and a score that one plugin file registers: named in a configuration, trained, loaded, packed and asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stage_two import values

import pairalign as pa
from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError, PackError, RegistryError
from pairalign.dormant.significance import scores
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import plan_recompose
from pairalign.sensors.bridges import registry
from pairalign.sensors.bridges.registry import BridgeSizes, create_bridge, register_bridge
from pairalign.sensors.sensor import SensorRecipe

PLUGIN = '''
"""Means of the tokens, and a score that is the weight itself."""
import torch
from torch import nn

from pairalign import register_bridge
from pairalign.dormant.significance import register_score


@register_bridge("halves")
class Halves(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.length, self.size = 2, sizes.size
        self.map = nn.Linear(sizes.tokens + sizes.shared, self.length * sizes.hidden)

    def forward(self, sensed):
        seen = torch.cat([sensed.tokens.mean(1), sensed.shared], 1)
        vectors = self.map(seen.float()).unflatten(1, (self.length, -1))
        return self.size * nn.functional.normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5


@register_score("itself")
def itself(model, linears, calibration=None, *, seed=0):
    return {name: linear.weight.detach().float() for name, linear in linears.items()}
'''


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BRIDGES", dict(registry._BRIDGES))
    monkeypatch.setattr(scores, "_SCORES", dict(scores._SCORES))


@pytest.mark.usefixtures("forgotten")
def test_one_file_brings_a_bridge_and_a_score(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    told = values(setup, tmp_path / "run", sensors={"touch": {"run": "demo/run", "bridge": "halves"}})
    told |= {"dormant": {"score": "itself", "structure": "rows", "density": 0.2}}
    with pytest.raises(ConfigError, match=r"sensors\.touch\.bridge='halves': no bridge of this name"):
        pa.recompose_mllm(load_config(RecomposeConfig, told), progress=False)
    config = load_config(RecomposeConfig, {**told, "plugins": [str(tmp_path / "mine.py")]})
    assert "touch" in str(plan_recompose(config))
    run = pa.recompose_mllm(config, progress=False)
    assert run.model.sensors["touch"].length == 2
    pack = pa.export_pack(run, tmp_path / "pack")
    again = pa.load_recomposed(tmp_path / "run")
    for name, tensor in run.model.sensors.state_dict().items():
        assert torch.equal(again.model.sensors.state_dict()[name], tensor)
    model, processor = pa.load_sensor_model(str(setup / "base"), [pack])
    assert processor.sensors["touch"].length == 2
    assert type(model.sensors["touch"].bridge).__name__ == "Halves"
    monkeypatch.setattr(registry, "_BRIDGES", {k: v for k, v in registry._BRIDGES.items() if k != "halves"})
    with pytest.raises(PackError, match="Name the file that registers it with --plugin"):
        pa.load_sensor_model(str(setup / "base"), [pack])


@pytest.mark.usefixtures("forgotten")
def test_a_name_has_one_owner_and_a_bridge_a_length() -> None:
    with pytest.raises(RegistryError, match="'mlp' is registered already, by pairalign"):
        register_bridge("mlp")(lambda sizes: torch.nn.Identity())
    with pytest.raises(RegistryError, match="'recomposition' is registered already"):
        register_bridge("recomposition")(lambda sizes: torch.nn.Identity())
    register_bridge("endless")(lambda sizes: torch.nn.Identity())
    with pytest.raises(RegistryError, match="length=None says how many vectors"):
        create_bridge("endless", BridgeSizes(8, 4, 0, 16, 2, 1.0))
    assert SensorRecipe("x").bridge == "mlp"
