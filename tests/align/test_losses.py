"""A loss that a plugin registers: named in a configuration, planned, trained, loaded again; and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import pairalign as pa
from pairalign.align import losses
from pairalign.align.identity import align_identity
from pairalign.align.losses import create_loss, register_loss
from pairalign.align.plan import plan_run
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError, ContrastiveError, RegistryError

PLUGIN = '''
"""InfoNCE towards softer targets, the softness learned on each edge."""
import torch

from pairalign import register_loss


@register_loss("soft")
class Soft(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.soft = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, a, b, scale, *, ids_a, ids_b, false_negatives, chunk, gather):
        logits = scale * a @ b.T
        return (logits.logsumexp(1) - (1 - self.soft) * logits.diagonal()).mean() + self.soft**2
'''


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_LOSSES", dict(losses._LOSSES))


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(PLUGIN)
    return str(tmp_path / "mine.py")


@pytest.mark.usefixtures("forgotten")
def test_a_plugin_s_loss_is_planned_trained_and_loaded_again(
    align_settings: dict[str, Any], plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {**align_settings, "loss": {"contrastive": "soft"}}
    known = r"loss.contrastive='soft': no loss of this name. Known: infonce, sigmoid."
    with monkeypatch.context() as patch:
        patch.setattr("pairalign.align.run.launch", None)  # said before any process is started
        with pytest.raises(ConfigError, match=known):
            pa.align_pairs(load_config(AlignConfig, told), progress=False)
    shutil.copytree(Path(told["data"]["root"]) / "a-b", Path(told["data"]["root"]) / "more")
    told["edges"][0]["shards"] = ["a-b", "more"]
    config = load_config(AlignConfig, {**told, "plugins": [plugin]})
    plan = plan_run(config, progress=False)
    assert (plan.record()["loss"], plan.trainable["edges"]) == ("soft", 2 * (8 + 1 + 1))
    assert "loss soft, of a plugin" in plan.text()
    assert any("edge a-b: loss 'soft' gives one number a batch" in note for note in plan.notes)
    run = pa.align_pairs(config, progress=False)
    stored = load_file(run.folder / "model.safetensors")
    assert float(stored["biases.a-b.soft"]) != pytest.approx(0.1)
    assert float(stored["biases.a-b.soft"]) != float(stored["biases.b-c.soft"])
    monkeypatch.setattr(losses, "_LOSSES", {k: v for k, v in losses._LOSSES.items() if k != "soft"})
    monkeypatch.setattr("pairalign.core.registry._plugins", {})
    again = pa.load_aligned(run.folder)  # with the copy of the plugin that the run keeps
    assert torch.equal(again.aligner.state_dict()["biases.a-b.soft"], stored["biases.a-b.soft"])


def test_the_sigmoid_s_bias_is_called_as_it_was_in_the_files_of_runs() -> None:
    assert list(create_loss("sigmoid", ["a-b", "b-c"]).state_dict()) == ["a-b", "b-c"]
    assert not list(create_loss("infonce", ["a-b"]).parameters())


def first(a: Tensor, b: Tensor, scale: Tensor, **named: Any) -> Tensor:
    return -scale * (a * b).sum()


def second(a: Tensor, b: Tensor, scale: Tensor, **named: Any) -> Tensor:
    return -scale * (a * b).mean()


@pytest.mark.usefixtures("forgotten")
def test_a_run_is_another_where_the_code_of_its_loss_is(align_settings: dict[str, Any]) -> None:
    config = load_config(AlignConfig, {**align_settings, "loss": {"contrastive": "own"}})
    found = []
    for loss in (first, second):
        register_loss("own")(loss)
        found.append(align_identity(config))
    assert any("loss (was" in one for one in found[0].differences(found[1]))
    plain = align_identity(replace(config, loss=replace(config.loss, contrastive="sigmoid")))
    assert "loss" not in plain.made_from  # as earlier versions wrote it


@pytest.mark.usefixtures("forgotten")
def test_what_cannot_be_a_loss_is_refused_where_it_is_registered() -> None:
    for wrong, why in (
        (lambda a, b, scale: a.sum(), "cannot be called with a, b, scale and by name ids_a, ids_b"),
        (dict, "is a class that is no torch.nn.Module"),
        (torch.nn.Identity(), "register its class"),
    ):
        with pytest.raises(RegistryError, match=why):
            register_loss("wrong")(wrong)
    with pytest.raises(RegistryError, match="'infonce' is registered already, by pairalign"):
        register_loss("infonce")(lambda a, b, scale, **named: a.sum())
    register_loss("each")(lambda a, b, scale, **named: (a * b).sum(1))
    with pytest.raises(ContrastiveError, match=r"loss 'each' gave a tensor of shape \(3,\): give one number"):
        create_loss("each", ["a-b"])("a-b", torch.eye(3), torch.eye(3), torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"'sigmiod': no loss .* Did you mean 'sigmoid'\? Known: each, inf"):
        create_loss("sigmiod", ["a-b"])
