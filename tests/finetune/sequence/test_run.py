"""Skills in sequence end to end on tiny models: from stage to stage, after a kill, and what the report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_two import ASKED, DORMANT, IMAGE, PAIRS, TOUCH

from pairalign.cli.main import main
from pairalign.core.config import load_config, to_yaml
from pairalign.core.errors import ConfigError, IdentityError, StorageError
from pairalign.finetune.module import StageTwo
from pairalign.finetune.sequence.config import SequenceConfig
from pairalign.finetune.sequence.run import SequenceRun, plan_sequence, teach_sequence

POINTS = {"shards": "lessons/points", "prompt": "{points} {question}", **ASKED}
VAL = {"split": "val", "limit": 6}
FULL: dict[str, Any] = {"method": "full"}
ALWAYS: dict[str, Any] = {"dormant": {**DORMANT, "acts": "always"}}


def sequence(setup: Path, out: Path, **changes: Any) -> SequenceConfig:
    stages = [
        {"name": "touch", "tasks": {"touch": TOUCH}, "validation": {"touch": {**TOUCH, **VAL}}},
        {"name": "points", "tasks": {"points": POINTS}, "validation": {"points": {**POINTS, **VAL}}},
    ]
    train = {"steps": 2, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 2}
    defaults = {
        "base": str(setup / "base"),
        "root": str(setup),
        "sensors": {name: {"run": "demo/run", "tokens": 2} for name in ("touch", "points")},
        "held_out": {"image": {**IMAGE, **VAL}},
        "calibration": {"pictures": IMAGE},
        "calibration_size": 16,
        "train": {**train, "validate_every": 1, "measure_signals_limit": 4},
    }
    values = {"stages": stages, "defaults": defaults, "out": str(out), "arms": {"full": FULL, "rows": ALWAYS}}
    return load_config(SequenceConfig, {**values, **changes})


@pytest.fixture(scope="module")
def done(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> SequenceRun:
    """Killed at the first step of the second stage of the first arm, and begun again."""
    config = sequence(setup, tmp_path_factory.mktemp("sequence") / "out")
    step = StageTwo.training_step

    def dies(self: StageTwo, batch: Any, batch_idx: int) -> Any:
        if self.config.out.endswith("2-points"):
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTwo, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            teach_sequence(config, progress=False)
    first = Path(config.out) / "full" / "seed0" / "1-touch" / "results.json"
    left = json.loads((Path(config.out) / "sequence.json").read_text())
    assert [len(run["stages"]) for run in left["runs"]] == [1]
    was = first.stat().st_mtime_ns
    found = teach_sequence(config, progress=False)
    assert first.stat().st_mtime_ns == was
    return found


def of(done: SequenceRun, arm: str, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.folder / arm / "seed0" / stage / "results.json").read_text())
    return found


def test_after_a_kill_the_same_call_ends_with_every_stage(done: SequenceRun) -> None:
    runs = done.results["runs"]
    assert [(run["arm"], [stage["name"] for stage in run["stages"]]) for run in runs] == [
        ("full", ["touch", "points"]),
        ("rows", ["touch", "points"]),
    ]
    assert runs[0]["stages"][0]["seconds"] is None  # it had finished before
    assert runs[0]["stages"][1]["seconds"] > 0


@pytest.mark.parametrize("arm", ["full", "rows"])
def test_a_stage_begins_where_the_one_before_ended(done: SequenceRun, arm: str) -> None:
    first, second = of(done, arm, "1-touch"), of(done, arm, "2-points")
    assert second["history"][0] == {**first["history"][-1], "step": 0}
    assert second["base"] == first["base"]


def test_the_base_is_measured_once_for_all_stages_and_arms(done: SequenceRun) -> None:
    assert not of(done, "full", "1-touch")["base_from"]
    for arm, stage in (("full", "2-points"), ("rows", "1-touch"), ("rows", "2-points")):
        assert set(of(done, arm, stage)["base_from"]) == {"validation/touch", "validation/points", "held_out/image"}


def test_the_table_is_of_the_stages_figures(done: SequenceRun) -> None:
    run = done.results["runs"][1]
    for row, results in zip(run["stages"], (of(done, "rows", "1-touch"), of(done, "rows", "2-points")), strict=True):
        assert row["skills"] == {n: results["after"]["validation"][n]["accuracy"] for n in ("touch", "points")}
        assert row["held_out"] == {"image": results["after"]["held_out"]["image"]["accuracy"]}
        assert row["with_signals"] == results["with_signals"]["forgetting"]
        assert row["own_mass"]["held_out"] == results["after"]["held_out"]["image"]["own_mass"]
    assert run["figures"]["learning"][1] == pytest.approx(
        100 * (run["stages"][1]["skills"]["points"] - run["base"]["skills"]["points"])
    )


def test_the_bias_is_told_for_every_step_and_along_own_words_at_the_ends(done: SequenceRun) -> None:
    points = [p for p in done.results["bias"]["points"] if p["arm"] == "full"]
    assert [(p["stage"], p["step"], p["own"] is not None) for p in points] == [
        ("touch", 1, False),
        ("touch", 2, True),
        ("points", 1, False),
        ("points", 2, True),
    ]
    base, last = of(done, "full", "1-touch")["base"], of(done, "full", "2-points")["after"]
    moved = last["held_out"]["image"]["mass"] - base["held_out"]["image"]["mass"]
    assert points[-1]["right"] == pytest.approx(100 * moved)
    assert done.results["bias"]["correlation"]["all arms"]["right"]["n"] == 8


def test_the_report_has_every_arm_and_skill(done: SequenceRun) -> None:
    page, text = done.report.read_text(), (done.folder / "sequence.md").read_text()
    for word in ("full", "rows", "touch", "points", "held-out: image"):
        assert word in page
        assert word in text
    assert (done.folder / "sequence.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_what_is_finished(done: SequenceRun, capsys: pytest.CaptureFixture[str]) -> None:
    path = done.folder.parent / "config.yaml"
    path.write_text(to_yaml(done.config))
    assert main(["sequence", str(path), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "learning" in out
    assert str(done.report) in out
    assert main(["sequence", str(path), "--quiet", "--json"]) == 0
    assert [run["arm"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["full", "rows"]


def test_a_trial_lists_what_is_left(done: SequenceRun, setup: Path, tmp_path: Path) -> None:
    plan = plan_sequence(sequence(setup, tmp_path / "out", arms={"rows": ALWAYS}))
    assert [(s["name"], s["steps"], s["state"]) for s in plan.stages] == [("touch", 2, "to do"), ("points", 2, "to do")]
    assert plan.seconds > 0
    assert "rows: trains" in str(plan)
    assert not (tmp_path / "out").exists()
    assert {s["state"] for s in plan_sequence(done.config).stages} == {"finished"}


def test_other_settings_are_refused_by_stage(done: SequenceRun, setup: Path) -> None:
    train = {**done.config.defaults["train"], "lr": 0.02}
    changed = sequence(setup, done.folder, defaults={**done.config.defaults, "train": train})
    with pytest.raises(IdentityError, match=r"stages\[0\] 'touch', arm 'full', seed 0: .*train.lr"):
        teach_sequence(changed, progress=False)


def test_what_does_not_fit_is_told_with_its_stage_before_the_first_trains(setup: Path, tmp_path: Path) -> None:
    bad = {"name": "pairs", "tasks": {"pairs": {**PAIRS, "prompt": "{nothing}"}}, "validation": {"p": {**PAIRS, **VAL}}}
    config = sequence(setup, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"stages\[1\] 'pairs', arm 'full', seed 0: .*nothing"):
        teach_sequence(sequence(setup, tmp_path / "out", stages=[config.stages[0], bad]), progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sequence.md").write_text("my notes")
    with pytest.raises(StorageError, match=r"holds sequence\.md, which no sequence wrote"):
        teach_sequence(sequence(setup, tmp_path / "mine"), progress=False)


def test_plan_tells_each_arm_on_the_bases_sizes(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the base's configuration has to exist."""
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(sequence(setup, tmp_path / "out", seeds=[0, 1])))
    assert main(["plan", str(path), "defaults.root=nowhere"]) == 0
    said = capsys.readouterr().out
    assert "arm full, 2 seeds; steps of each stage: touch 2, points 2" in said
    assert "arm rows, 2 seeds" in said
    assert main(["plan", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["steps"] == {"touch": 2, "points": 2}
