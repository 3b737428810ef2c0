"""What each method's run becomes: its pack or merged model answers as the run did, or export says no at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lmms_eval_like import installed, model_class
from stage_two import IMAGE, TOUCH, short_run

import pairalign as pa
from pairalign.core.errors import CheckpointError, ConfigError, PackError
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.measure import measure_task
from pairalign.finetune.methods import method_names
from pairalign.finetune.questions import Questions
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.tasks import Task

DORMANT: dict[str, dict[str, Any]] = {
    "rows": {"score": "magnitude", "structure": "rows", "density": 0.2},
    "weights": {"score": "magnitude", "structure": "weights", "density": 0.1},
    "directions": {"structure": "directions", "density": 0.2},
}
ALWAYS = {f"{name}, always": {**dormant, "acts": "always"} for name, dormant in DORMANT.items()}
METHODS: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in method_names() if name != "dormant"},
    **{name: {"dormant": dormant} for name, dormant in (DORMANT | ALWAYS).items()},
}
WHOLE = ("full", "lora", "ewc", "lwf", "wise_ft", "spider")
TRAIN = {"steps": 6, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "lr": 0.02, "measure_tokens": 0}


@pytest.fixture(scope="module")
def runs(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecomposeRun]:
    """Runs by name of `METHODS`, each made when it is first asked for."""
    made: dict[str, RecomposeRun] = {}

    def get(name: str) -> RecomposeRun:
        if name not in made:
            out = tmp_path_factory.mktemp("runs") / name
            made[name] = short_run(setup, out, train=TRAIN, calibration_size=8, **METHODS[name])
        return made[name]

    return get


def check_answers(model: Any, processor: Any, run: RecomposeRun) -> None:
    """The scores of a loaded model are those that the run wrote, and not the base's."""
    for part, name, task in (("validation", "touch", TOUCH), ("held_out", "image", IMAGE)):
        asked = Task(name, TaskConfig(**{**task, "split": "val"}), run.config.root, ["touch"])
        found = measure_task(model, Questions(asked, Collator(processor))).to_dict()
        after, base = (run.results[when][part][name] for when in ("after", "base"))
        assert found["accuracy"] == after["accuracy"]
        assert found["loss"] == pytest.approx(after["loss"], rel=1e-5)
        assert part == "held_out" or abs(base["loss"] - after["loss"]) > 1e-2
        if run.config.method == "bridge" or (part == "held_out" and run.config.dormant.acts == "sensor"):
            assert base["loss"] == after["loss"] or part == "validation"
        else:
            assert abs(base["loss"] - after["loss"]) > 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_a_loaded_run_answers_as_it_did(runs: Callable[[str], RecomposeRun], name: str) -> None:
    run = runs(name)
    again = pa.load_recomposed(run.folder)
    check_answers(again.model, again.processor, run)


@pytest.mark.parametrize("name", [*DORMANT, *ALWAYS, "bridge"])
def test_a_pack_answers_as_its_run(runs: Callable[[str], RecomposeRun], tmp_path: Path, name: str) -> None:
    run = runs(name)
    pack = pa.export_pack(run.folder, tmp_path / "pack")
    check_answers(*pa.load_sensor_model(run.config.base, [pack]), run)


@pytest.mark.parametrize("name", [*WHOLE, "rows, always", "directions, always"])
def test_a_merged_model_answers_as_its_run(runs: Callable[[str], RecomposeRun], tmp_path: Path, name: str) -> None:
    run = runs(name)
    pack = pa.export_pack(run.folder, tmp_path / "pack", merge=True)
    model, processor = pa.load_sensor_model(str(pack / "merged"), [pack])
    check_answers(model, processor, run)
    assert type(model.llm) is type(pa.load_sensor_model(run.config.base, [])[0].llm)  # a plain model
    pa.uninstall_pack(model, processor, "touch")
    assert not model.sensors
    if name in WHOLE:
        with pytest.raises(PackError, match=r"changed the model's own weights, .*load '.*merged' as the base"):
            pa.load_sensor_model(run.config.base, [pack])
    else:
        check_answers(*pa.load_sensor_model(run.config.base, [pack]), run)


@pytest.mark.parametrize(
    ("name", "merge", "message"),
    [
        *((name, False, rf"method '{name}' changed the model's own weights.*pass --merge") for name in WHOLE),
        ("bridge", True, r"--merge: method 'bridge' changed nothing of the language model: leave it out"),
        ("moe_lora", False, r"method 'moe_lora' adds layers.*use the run itself"),
        ("moe_lora", True, r"method 'moe_lora' adds layers.*use the run itself"),
    ],
)
def test_export_says_no_before_it_writes(
    runs: Callable[[str], RecomposeRun],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    merge: bool,
    message: str,
) -> None:
    run = runs(name)
    with pytest.raises(PackError, match=message):
        pa.export_pack(run, tmp_path / "packs" / "one", merge=merge)
    monkeypatch.setattr("pairalign.export.sensor_pack.load_recomposed", lambda run: pytest.fail("loads the model"))
    with pytest.raises(PackError, match=message):
        pa.export_pack(run.folder, tmp_path / "packs" / "one", merge=merge)
    assert not (tmp_path / "packs").exists()


def test_weights_of_another_base_are_refused(runs: Callable[[str], RecomposeRun]) -> None:
    from safetensors.torch import load_file, save_file

    run = runs("full")
    path = run.folder / "trained.safetensors"
    kept = path.read_bytes()
    tensors = load_file(path)
    save_file({**tensors, "model.another.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"model.another.weight of shape \(1,\) is of another base"):
        pa.load_recomposed(run.folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"trained.safetensors' are missing or damaged"):
        pa.load_recomposed(run.folder)
    path.write_bytes(kept)


@pytest.mark.parametrize("name", METHODS)
def test_lmms_eval_asks_a_run_of_any_method_by_the_class_of_its_base(
    runs: Callable[[str], RecomposeRun], setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = runs(name)
    installed(monkeypatch)
    (tmp_path / "run").symlink_to(run.folder)  # its own name may have a comma, at which lmms-eval splits
    told = [f"model={place},family=tiny_hf,dtype=float32" for place in (tmp_path / "run", setup / "base")]
    asked, base = (model_class("pairalign").create_from_arg_string(told, {"batch_size": 1}) for told in told)
    inputs = base.inputs("what colour is it?")
    with torch.no_grad():
        now, was, expected = (m(**inputs).logits for m in (asked.model, base.model, run.model))
    assert (now - expected).abs().max() < 1e-5
    stays = name == "bridge" or (name in DORMANT and run.config.dormant.acts == "sensor")
    assert torch.equal(now, was) if stays else (now - was).abs().max() > 1e-4
    assert asked.say("what colour is it?") == pa.answer(run.model, run.processor, "what colour is it?", tokens=4)
    assert asked.model.dtype == torch.float32
    assert (asked.is_simple, base.is_simple) == (False, False)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("model={run},family=tiny_hf,dtype=bfloat16", r"is in float32, and TinyHf loads the base in bfloat16"),
        ("model={run}", r"model_args: family is missing"),
        ("model={run},family=pairalign", r"family='pairalign': give lmms-eval's class for the base"),
        ("model={run},family=tiny_hf,pretrained=other", r"pretrained is what `model` says"),
    ],
)
def test_lmms_eval_is_told_what_does_not_fit(
    runs: Callable[[str], RecomposeRun], monkeypatch: pytest.MonkeyPatch, told: str, message: str
) -> None:
    installed(monkeypatch)
    with pytest.raises(ConfigError, match=message):
        model_class("pairalign").create_from_arg_string(told.format(run=runs("bridge").folder))
