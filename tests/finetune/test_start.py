"""A run that goes on where another one ended: from its very weights, compared with the base; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import DORMANT, IMAGE, TOUCH, killed, settings, short_run
from torch import Tensor

from pairalign.core.errors import ConfigError
from pairalign.finetune.run import RecomposeRun, load_recomposed, plan_recompose

TRAIN = {"steps": 2, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 0}
FEW: dict[str, Any] = {
    "tasks": {"touch": TOUCH},
    "validation": {"touch": {**TOUCH, "split": "val", "limit": 8}},
    "held_out": {"image": {**IMAGE, "split": "val", "limit": 8}},
    "train": {**TRAIN, "measure_with_signals": False},
}
STAY = {**FEW, "train": {**FEW["train"], "lr": 0.0, "bridge_lr": 0.0}}  # a step that moves nothing


def states(run: RecomposeRun) -> dict[str, Tensor]:
    return {name: value for name, value in run.model.state_dict().items() if "lora" not in name}


@pytest.fixture(scope="module")
def before(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecomposeRun]:
    """A finished run of each way to leave something behind."""
    folder = tmp_path_factory.mktemp("before")
    ways: dict[str, dict[str, Any]] = {
        "full": {"method": "full"},
        "lora": {"method": "lora", "options": {"rank": 2}},
        "moe_lora": {"method": "moe_lora", "options": {"experts": 2, "rank": 2}},
        "always": {"dormant": {**DORMANT, "acts": "always"}},
        "sensor": {"dormant": DORMANT},
    }
    return {name: short_run(setup, folder / name, **FEW, **way) for name, way in ways.items()}


def going_on(run: RecomposeRun, updates: str = "same", **changes: Any) -> dict[str, Any]:
    told = {"method": run.config.method, "options": run.config.options, "dormant": run.config.dormant}
    return {**told, "start": {"run": str(run.folder), "updates": updates}, **changes}


@pytest.mark.parametrize("way", ["full", "lora", "moe_lora", "always", "sensor"])
def test_it_begins_with_the_weights_that_were_left(
    setup: Path, tmp_path: Path, before: dict[str, RecomposeRun], way: str
) -> None:
    """Bridges, too; and its figures are still those against the base, not against where it began."""
    first = before[way]
    run = short_run(setup, tmp_path / "next", **{**STAY, **going_on(first)})
    for name, value in states(first).items():
        torch.testing.assert_close(states(run)[name], value, atol=2e-7, rtol=1e-6, msg=name)
    assert run.results["base"] == first.results["base"]
    assert run.results["history"][0] == {**first.results["history"][-1], "step": 0}
    assert run.results["after"]["validation"]["touch"]["loss"] == pytest.approx(
        first.results["after"]["validation"]["touch"]["loss"], abs=1e-5
    )
    torch.testing.assert_close(states(load_recomposed(run.folder)), states(run), atol=1e-6, rtol=1e-6)


def test_an_adapter_goes_on_or_is_merged_and_followed_by_another(
    setup: Path, tmp_path: Path, before: dict[str, RecomposeRun]
) -> None:
    """Of rank 2, another adapter of rank 2 on top reaches what one alone does not."""
    first, name = before["lora"], "model.language_model.layers.0.mlp.up_proj.weight"
    base = settings(setup, tmp_path).base
    from transformers import AutoModelForImageTextToText

    plain = dict(AutoModelForImageTextToText.from_pretrained(base).named_parameters())[name].float()
    ranks = {}
    for updates in ("same", "new"):
        run = short_run(setup, tmp_path / updates, **{**FEW, **going_on(first, updates)})
        moved = dict(run.model.llm.named_parameters())[name].float() - plain
        ranks[updates] = int((torch.linalg.svdvals(moved) > 1e-4 * moved.norm()).sum())
    assert ranks == {"same": 2, "new": 4}


def test_it_is_measured_anew_where_it_asks_something_else(
    setup: Path, tmp_path: Path, before: dict[str, RecomposeRun]
) -> None:
    held_out = {"image": {**IMAGE, "split": "val", "limit": 6}}
    run = short_run(setup, tmp_path / "next", **{**STAY, **going_on(before["always"]), "held_out": held_out})
    drifts = [line["held_out/image/drift"] for line in run.results["history"]]
    assert drifts[0] == pytest.approx(drifts[-1], rel=1e-4)
    assert drifts[0] > 1e-6
    assert run.results["base"]["held_out"]["image"]["drift"] < 1e-6


@pytest.mark.parametrize("way", ["lora", "always"])
def test_one_that_was_killed_ends_as_if_it_had_not_been(
    setup: Path, tmp_path: Path, before: dict[str, RecomposeRun], way: str
) -> None:
    train = {**FEW["train"], "steps": 3, "checkpoint_every": 1}
    changes = {**FEW, **going_on(before[way]), "train": train}
    whole = short_run(setup, tmp_path / "whole", **changes)
    with killed(2):
        short_run(setup, tmp_path / "killed", **changes)
    again = short_run(setup, tmp_path / "killed", **changes)
    assert again.results["base"] == whole.results["base"]
    assert again.results["history"] == whole.results["history"]
    torch.testing.assert_close(states(again), states(whole), atol=0, rtol=0)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(setup: Path, tmp_path: Path) -> None:
    """It knows nothing of a start, a probe, or bridges that do not train."""
    changes = {**FEW, "method": "bridge", "train": {**FEW["train"], "checkpoint_every": 1}}
    with killed(1):
        short_run(setup, tmp_path / "run", **changes)
    path = tmp_path / "run" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    config = saved["pairalign"]["config"]
    for gone in (config.pop("start"), config.pop("probe"), config["sensors"]["touch"].pop("trained")):
        assert gone is None or gone
    torch.save(saved, path)
    run = short_run(setup, tmp_path / "run", **changes)
    assert run.results["kept"]["step"] == 2


def test_the_bound_counts_from_the_base(setup: Path, tmp_path: Path, before: dict[str, RecomposeRun]) -> None:
    """What a run before has lost is lost here, too: nothing is learned within a bound that it is beyond already."""
    first = before["full"]
    lost = first.results["forgetting"]["points"]
    changes = going_on(first, max_forgetting=0.0)
    run = short_run(setup, tmp_path / "next", **{**FEW, **changes})
    assert run.results["forgetting"]["points"] == lost
    assert run.results["kept"]["step"] == (0 if lost > 0 else run.results["kept"]["step"])


def test_a_bridge_may_stay_as_it_is(setup: Path, tmp_path: Path, before: dict[str, RecomposeRun]) -> None:
    sensors = {"touch": {"run": "demo/run", "tokens": 2, "trained": False}}
    run = short_run(setup, tmp_path / "next", **{**FEW, **going_on(before["full"]), "sensors": sensors})
    was, now = (one.model.sensors.state_dict() for one in (before["full"], run))
    assert all(torch.equal(value, now[name]) for name, value in was.items())
    assert not torch.equal(
        next(iter(run.model.llm.model.language_model.parameters())),  # type: ignore[union-attr]
        next(iter(before["full"].model.llm.model.language_model.parameters())),  # type: ignore[union-attr]
    )


def test_a_trial_begins_there_too(setup: Path, tmp_path: Path, before: dict[str, RecomposeRun]) -> None:
    plan = plan_recompose(settings(setup, tmp_path / "next", **{**FEW, **going_on(before["always"])}))
    assert sum(plan.trained.values()) == before["always"].results["trained"]
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(
    ("way", "changes", "message"),
    [
        ("full", {"start": {"run": "nowhere"}}, "no finished run"),
        ("full", {"method": "lora"}, "was trained with method='full', this has 'lora'"),
        ("always", {"dormant": {**DORMANT, "density": 0.5, "acts": "always"}}, "give the same settings"),
        ("always", {"start": {"run": "", "updates": "new"}}, "give 'same'"),
        ("sensor", {"sensors": {n: {"run": "demo/run", "tokens": 2} for n in ("touch", "points")}}, r"touch\+points"),
        ("full", {"train": {**TRAIN, "pull_back": 0.5}}, "pull_back"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    setup: Path,
    tmp_path: Path,
    before: dict[str, RecomposeRun],
    way: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    told = {**FEW, **going_on(before[way]), **changes}
    if told["start"]["run"] == "":
        told["start"] = {**told["start"], "run": str(before[way].folder)}
    with pytest.raises(ConfigError, match=message):
        short_run(setup, tmp_path / "next", **told)
    assert not (tmp_path / "next").exists()
