"""`installed`: what packs own is left to them, in one process and in two, again on a resume; else it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsdp_worker
import pytest
import torch
import yaml
from ranks import in_ranks
from stage_two import TOUCH, killed, settings, short_run, values

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core.errors import ConfigError, DeltaError, DormantError, IdentityError
from pairalign.finetune.run import RecomposeRun, plan_recompose
from pairalign.sensors.processor import load_base

TRAIN = {"steps": 2, "batch_size": 4, "checkpoint_every": 1, "warmup": 1, "accelerator": "cpu", "measure_tokens": 0}
LEAN: dict[str, Any] = {"train": TRAIN, "held_out": {}, "validation": {}}
POINTS = {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}
SECOND: dict[str, Any] = {
    **LEAN,
    "sensors": {"points": {"run": "demo/run", "tokens": 2}},
    "tasks": {"points": POINTS},
}
ROWS = {"score": "magnitude", "structure": "rows", "density": 0.25}


@pytest.fixture(scope="module")
def packs(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of touch, by structure."""
    made, folder = {}, tmp_path_factory.mktemp("installed")
    for name, dormant in {
        "rows": ROWS,
        "weights": {**ROWS, "structure": "weights"},
        "columns": {**ROWS, "structure": "columns"},
        "directions": {"structure": "directions", "density": 0.25},
    }.items():
        run = short_run(setup, folder / f"run-{name}", tasks={"touch": TOUCH}, dormant=dormant, **LEAN)
        made[name] = pa.export_pack(run, folder / name)
    return made


def second(setup: Path, out: Path, pack: Path | None, **changes: Any) -> RecomposeRun:
    return short_run(setup, out, **{**SECOND, "installed": [str(pack)] if pack else [], "dormant": ROWS, **changes})


def shared(setup: Path, packs: list[Path]) -> int:
    """Entries that sensors of several packs own together."""
    model, _ = pa.load_sensor_model(str(setup / "base"), packs)
    one, other = (model.llm.masks(name) for name in ("touch", "points"))  # type: ignore[operator]
    return sum(int((one[n].bitmap() & other[n].bitmap()).sum()) for n in one.keys() & other.keys())


@pytest.mark.parametrize("structure", ["rows", "weights"])
def test_what_a_pack_owns_is_left_to_it_and_both_are_merged(
    setup: Path, packs: dict[str, Path], tmp_path: Path, structure: str
) -> None:
    dormant = {**ROWS, "structure": structure}
    made = {
        name: pa.export_pack(second(setup, tmp_path / name, pack, dormant=dormant), tmp_path / f"pack-{name}")
        for name, pack in {"beside": packs[structure], "alone": None}.items()
    }
    assert shared(setup, [packs[structure], made["alone"]]) > 0
    assert shared(setup, [packs[structure], made["beside"]]) == 0
    model, _ = pa.load_sensor_model(str(setup / "base"), [packs[structure], made["beside"]])
    weights = {n: m.effective_weight() for n, m in model.llm.base_model.named_modules() if hasattr(m, "updates")}  # type: ignore[union-attr,operator]
    merged = model.llm.merge_and_unload()  # type: ignore[operator]
    assert all(torch.equal(merged.get_submodule(name).weight, weight) for name, weight in weights.items())
    told = json.loads((made["beside"] / "dormant_config.json").read_text())["origin"]
    assert told["beside"] == ["touch"]
    assert "none of these weights is one of touch" in (made["beside"] / "README.md").read_text()
    assert "beside" not in json.loads((made["alone"] / "dormant_config.json").read_text())["origin"]


def test_directions_are_orthogonal_to_those_of_a_pack(setup: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    dormant = {"structure": "directions", "density": 0.25}
    run = second(setup, tmp_path / "run", packs["directions"], dormant=dormant)
    model, _ = pa.load_sensor_model(str(setup / "base"), [packs["directions"]])
    theirs, ours = model.llm.updates("touch"), run.model.llm.updates("points")  # type: ignore[operator]
    assert theirs.keys() == ours.keys()
    for name, update in ours.items():
        assert float((update.basis.mT @ theirs[name].basis).abs().max()) < 1e-5


@pytest.mark.slow
def test_two_processes_that_share_the_base_leave_it_too(setup: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    train = {**TRAIN, "batch_size": 2, "strategy": "fsdp2"}
    told = {**SECOND, "installed": [str(packs["rows"])], "dormant": ROWS, "train": train}
    (tmp_path / "runs.json").write_text(json.dumps([values(setup, tmp_path / "two", **told)]))
    codes, said = in_ranks(lambda rank: fsdp_worker.main(tmp_path / "runs.json"), tmp_path)
    assert codes == [0, 0], said
    one = second(setup, tmp_path / "one", packs["rows"])
    two = pa.load_recomposed(tmp_path / "two")
    masks = [run.model.llm.masks("points") for run in (one, two)]  # type: ignore[operator]
    assert masks[0].keys() == masks[1].keys()
    assert all(torch.equal(masks[0][name].index, masks[1][name].index) for name in masks[0])
    assert two.model.llm.origins["points"]["beside"] == ["touch"]  # type: ignore[index,union-attr]


def test_a_resumed_run_has_the_same_packs_beside_it(
    setup: Path, packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = shutil.copytree(packs["rows"], tmp_path / "pack")
    whole = second(setup, tmp_path / "whole", pack)
    with killed(1):
        second(setup, tmp_path / "run", pack)
    with pytest.raises(IdentityError, match="installed"):
        second(setup, tmp_path / "run", None)
    shutil.rmtree(pack)
    shutil.copytree(packs["weights"], pack)
    with pytest.raises(IdentityError, match=r"installed packs \(was "):
        second(setup, tmp_path / "run", pack)
    shutil.rmtree(pack)
    shutil.copytree(packs["rows"], pack)
    again = second(setup, tmp_path / "run", pack)
    found, expected = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("structure", "dormant", "message"),
    [
        ("rows", {**ROWS, "density": 0.8}, r"installed: 'touch' owns \d+ weights of .* lower density"),
        ("columns", ROWS, r"installed: 'touch' owns \d+ weights of .* choose the structure"),
        ("rows", {"structure": "matrices"}, r"installed: 'touch' owns \d+ weights"),
        ("weights", {**ROWS, "structure": "3:4"}, r"installed: 'touch' owns \d+ weights"),
        ("directions", {"structure": "directions", "density": 0.8}, r"of which other sensors own 8, cannot be had"),
    ],
)
def test_what_cannot_be_had_beside_a_pack_is_refused(
    setup: Path, packs: dict[str, Path], tmp_path: Path, structure: str, dormant: dict[str, Any], message: str
) -> None:
    pack = packs[structure]
    config = settings(setup, tmp_path / "run", **{**SECOND, "installed": [str(pack)], "dormant": dormant})
    with pytest.raises(DormantError, match=message):
        plan_recompose(config)
    with pytest.raises(DormantError, match=message):
        pa.recompose_mllm(config, progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_pack_of_another_base_is_refused_before_anything_is_scored(
    setup: Path, packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, processor = load_base(str(setup / "base"))
    with torch.no_grad():
        llm.get_submodule("model.language_model.layers.0.mlp.up_proj").weight[0, 0] += 1
    for part in (llm, processor):
        part.save_pretrained(tmp_path / "base")
    monkeypatch.setattr("pairalign.dormant.choose.score_model", lambda *a, **k: pytest.fail("scores"))
    with pytest.raises(DeltaError, match=r"installed: '.*rows': .*up_proj.weight is not that of the base"):
        second(setup, tmp_path / "run", packs["rows"], base=str(tmp_path / "base"))
    assert not (tmp_path / "run").exists()


def test_what_owns_nothing_or_has_the_same_sensor_is_one_line(
    setup: Path, packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairalign.finetune.prepare.assemble", lambda *a, **k: pytest.fail("loads the base"))
    (tmp_path / "empty").mkdir()
    for changes, message in (
        ({"installed": [str(tmp_path / "empty")]}, r"installed: '.*empty' has no dormant_config.json"),
        ({"installed": [str(tmp_path / "gone")]}, r"installed: .*gone.* is missing"),
        ({"installed": [str(packs["rows"])] * 2}, r"is of sensor 'touch', which '.*rows' has too"),
        ({"installed": [str(packs["rows"])], "method": "full"}, r"installed: method 'full' owns no weights"),
    ):
        for run in (pa.recompose_mllm, plan_recompose):
            with pytest.raises(ConfigError, match=message):
                run(settings(setup, tmp_path / "run", **{**SECOND, **changes}))
    with pytest.raises(ConfigError, match=r"is of sensor 'touch', which this run has too"):
        short_run(setup, tmp_path / "run", installed=[str(packs["rows"])])


def test_a_plan_says_so_too(
    setup: Path, packs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = values(setup, tmp_path / "run", **{**SECOND, "dormant": {**ROWS, "density": 0.8}})
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**told, "installed": [str(packs["rows"])]}))
    words = ["plan", str(tmp_path / "two.yaml"), "--architecture", str(setup / "base")]
    assert main([*words, "dormant.density=0.5"]) == 0
    assert main(words) == 2
    assert "lower density" in capsys.readouterr().err
    assert main([*words, "installed=[packs/nowhere]"]) == 0  # nothing that is named has to be there
