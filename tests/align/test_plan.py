"""The plan: what it counts, draws and refuses; and that it trains nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from pairalign.align.model import build_aligner
from pairalign.align.plan import draw_graph, plan_run
from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError
from pairalign.core.types import Features
from pairalign.data.graph import PairGraph


def test_counts_samples_and_estimates(align_settings: dict[str, Any]) -> None:
    align_settings["modalities"]["b"]["tune"] = "none"
    config = load_config(AlignConfig, align_settings)
    plan = plan_run(config, progress=False)
    aligner = build_aligner(config)
    assert sum(plan.trainable.values()) == sum(p.numel() for p in aligner.parameters() if p.requires_grad)
    assert sum(plan.frozen.values()) == sum(p.numel() for p in aligner.parameters() if not p.requires_grad)
    assert plan.samples == {"a-b": 96, "b-c": 96}
    assert plan.memory >= 16 * sum(plan.trainable.values())
    frozen = plan.anchors["b"]
    assert (list(plan.anchors), frozen.missing, frozen.found) == (["b"], 2 * (96 + 32), 0)
    assert plan.seconds == pytest.approx(plan.step_seconds * 12 + frozen.each * frozen.missing)
    assert plan.record()["emergent"] == {"a-c": ["a", "b", "c"]}
    text = plan.text()
    for part in ("connected", "emergent, by a → b → c", "96 training pairs", "memory: about", "time: about"):
        assert part in text


def test_steps_are_timed_without_the_frozen_tower(
    align_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the run goes: a tower is read once for each sample, and not at all where its cache is there."""
    align_settings["modalities"]["b"]["tune"] = "none"
    config = load_config(AlignConfig, align_settings)
    tower, slow = type(build_aligner(config).encoder("b")), 0.3
    forward = tower.forward

    def slowly(self: Encoder, batch: Tensor) -> Features:
        time.sleep(slow * self.frozen)
        return forward(self, batch)

    monkeypatch.setattr(tower, "forward", slowly)
    plan = plan_run(config, progress=False)
    assert plan.step_seconds < slow
    assert plan.anchors["b"].each >= slow / 16
    monkeypatch.setattr(tower, "forward", forward)
    align_pairs(config, progress=False)
    again = plan_run(config, progress=False)
    assert (again.anchors["b"].missing, again.anchors["b"].found) == (0, 2 * (96 + 32))
    assert again.seconds == again.step_seconds * 12
    assert "256 are cached" in again.text()


def test_it_trains_nothing_and_writes_nothing(align_settings: dict[str, Any]) -> None:
    plan_run(load_config(AlignConfig, align_settings), progress=False)
    assert not Path(align_settings["out"]).exists()


def test_it_refuses_what_a_run_would_refuse(align_settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="holds no field"):
        plan_run(load_config(AlignConfig, align_settings, ["modalities.a.source=x"]), progress=False)
    with pytest.raises(DataError, match=r"no sample is usable.*shape \(6,\)"):
        plan_run(load_config(AlignConfig, align_settings, ["modalities.a.options={size: 7}"]), progress=False)


def test_a_graph_that_is_not_connected_is_drawn_so() -> None:
    lines = draw_graph(PairGraph(("a", "b", "c"), (("a", "b"),)))
    assert lines[0] == "pair graph: NOT connected: a, b | c"
    assert lines[1:] == ["  a ━━━━━━ b  trained"]
