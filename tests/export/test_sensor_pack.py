"""Sensor packs: what they hold, that they install in any order, go without a trace, and are refused where unfit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pairalign import export_pack, install_pack, load_sensor_model, uninstall_pack
from pairalign.cli.main import main
from pairalign.core.errors import CheckpointError, ConfigError, DeltaError, DormantError, PackError, PairalignError
from pairalign.data.world import World
from pairalign.demo.base import build_base, build_processor
from pairalign.dormant.model import DormantModel
from pairalign.export.manifest import read_manifest
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.run import RecomposeRun, load_recomposed
from pairalign.finetune.tasks import Task
from pairalign.sensors.answer import answer


@pytest.fixture(scope="module")
def packs(touch: RecomposeRun, points: RecomposeRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packs")
    return {
        "touch": export_pack(touch, folder / "touch", merge=True),
        "points": export_pack(points.folder, folder / "points"),
    }


def logits(model: Any, processor: Any, run: RecomposeRun, name: str) -> torch.Tensor:
    task = Task(name, TaskConfig(**vars(run.config.tasks[name])), run.config.root, [name])
    batch = Collator(processor)(list(task.read())[:4])
    with torch.no_grad():
        return model(**batch.inputs).logits


def test_a_pack_is_weights_and_text_with_hashes(packs: dict[str, Path]) -> None:
    names = {path.name for path in packs["touch"].iterdir()}
    assert names == {
        "README.md",
        "base.safetensors",
        "dormant_config.json",
        "dormant_model.safetensors",
        "manifest.json",
        "merged",
        "receipt.json",
        "results.json",
        "sense.safetensors",
    }
    manifest = read_manifest(packs["touch"])
    merged = {path.relative_to(packs["touch"]).as_posix() for path in (packs["touch"] / "merged").iterdir()}
    assert set(manifest.files) == (names - {"manifest.json", "merged"}) | merged
    assert manifest.signals["touch"]["unit"]
    assert manifest.licences == {"touch": "Apache-2.0"}
    assert manifest.sensors["touch"].encoder == "touch_cnn"
    assert manifest.temperature
    assert manifest.provenance["seed"] == 0
    assert json.loads((packs["touch"] / "receipt.json").read_text())["clean"]
    (samples,) = manifest.provenance["origin"]["calibration"]["samples"]
    assert (samples["count"], len(samples["keys"])) == (16, 16)
    card = (packs["touch"] / "README.md").read_text()
    told = "16 samples of `lessons/image`, split train; their keys are in `manifest.json`, SHA-256 "
    told += samples["sha256"][:12]
    for words in (told, "sense of **touch**", "touch.hardness", "learning", "Wilson", "load_sensor_model"):
        assert words in card


def test_an_installed_pack_is_the_trained_model(packs: dict[str, Path], touch: RecomposeRun) -> None:
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    run = load_recomposed(touch.folder)
    torch.testing.assert_close(
        logits(model, processor, run, "touch"), logits(run.model, run.processor, run, "touch"), atol=1e-6, rtol=0
    )


def test_two_packs_commute_and_leave_without_a_trace(
    packs: dict[str, Path], touch: RecomposeRun, points: RecomposeRun
) -> None:
    first, one = load_sensor_model(touch.config.base, [packs["touch"], packs["points"]])
    second, two = load_sensor_model(touch.config.base, [packs["points"], packs["touch"]])
    for name, run in (("touch", touch), ("points", points)):
        assert torch.equal(logits(first, one, run, name), logits(second, two, run, name))
    base, _ = load_sensor_model(touch.config.base, [])
    expected = {name: tensor.clone() for name, tensor in base.llm.state_dict().items()}
    uninstall_pack(first, one, "points")
    alone, only = load_sensor_model(touch.config.base, [packs["touch"]])
    assert torch.equal(logits(first, one, touch, "touch"), logits(alone, only, touch, "touch"))
    uninstall_pack(first, one, "touch")
    assert type(first.llm) is type(base.llm)
    found = first.llm.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    install_pack(first, one, packs["touch"])
    assert torch.equal(logits(first, one, touch, "touch"), logits(alone, only, touch, "touch"))


def test_packs_that_act_behind_their_own_sensors_share_weights(packs: dict[str, Path], touch: RecomposeRun) -> None:
    """Each answers as it does alone, though they own the same rows; a plain model has one value for each of them."""
    model, processor = load_sensor_model(touch.config.base, [packs["touch"], packs["points"]])
    masks = [model.llm.masks(name) for name in ("touch", "points")]  # type: ignore[operator]
    assert sum(int((masks[0][n].bitmap() & masks[1][n].bitmap()).sum()) for n in masks[0].keys() & masks[1].keys())
    alone, only = load_sensor_model(touch.config.base, [packs["touch"]])
    assert torch.equal(logits(model, processor, touch, "touch"), logits(alone, only, touch, "touch"))
    with pytest.raises(DormantError, match=r"'touch' and 'points' share \d+ weights .*one of its `installed` packs"):
        model.llm.merge_and_unload()  # type: ignore[operator]
    assert list(model.llm.dormant) == ["touch", "points"]  # type: ignore[arg-type]


def _rewrite(pack: Path, file: str, text: str) -> None:
    from pairalign.files import sha256_file

    (pack / file).write_text(text)
    manifest = json.loads((pack / "manifest.json").read_text())
    manifest["files"][file] = sha256_file(pack / file)
    (pack / "manifest.json").write_text(json.dumps(manifest))


def test_the_merged_checkpoint_is_a_plain_one(packs: dict[str, Path], touch: RecomposeRun) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    merged = AutoModelForImageTextToText.from_pretrained(packs["touch"] / "merged").eval()
    base = AutoModelForImageTextToText.from_pretrained(touch.config.base)
    assert {n: p.shape for n, p in merged.named_parameters()} == {n: p.shape for n, p in base.named_parameters()}
    assert AutoProcessor.from_pretrained(packs["touch"] / "merged").tokenizer.chat_template
    ids = torch.tensor([[1, 7, 9, 20]])
    with torch.no_grad():
        found, unread = merged(input_ids=ids).logits, touch.model.llm(input_ids=ids).logits
        plain = base(input_ids=ids).logits
        touched = load_recomposed(touch.folder).model.llm
        for update in touched.updates("touch").values():  # type: ignore[operator]
            update.sensors = None
        expected = touched(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(unread, plain)  # what was trained acts behind a touch; what is merged, everywhere
    assert not torch.allclose(found, plain, atol=1e-3)


def test_a_question_is_answered_with_pictures_and_touches(packs: dict[str, Path], touch: RecomposeRun) -> None:
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    gel = World(seed=9).sample(0, None, ("touch",))["touch"]
    assert isinstance(answer(model, processor, "is it soft?", signals={"touch": [gel]}, tokens=4), str)
    picture = Image.new("RGB", (48, 48), "red")
    asked = "is {touch} softer than {image}?"
    assert isinstance(answer(model, processor, asked, images=[picture], signals={"touch": [gel]}, tokens=4), str)


def _break(pack: Path, what: str) -> None:
    path = pack / "manifest.json"
    manifest = json.loads(path.read_text())
    if what == "version":
        manifest["format"] = 4
    elif what == "key":
        manifest["surprise"] = 1
    elif what == "encoder":
        manifest["senses"]["points"]["encoder"] = "gluve"
    elif what == "base":
        manifest["base"]["embedding"] = "0" * 64
    elif what == "hash":
        (pack / "sense.safetensors").write_bytes(b"broken")
    elif what == "missing":
        (pack / "dormant_model.safetensors").unlink()
    path.write_text("{" if what == "json" else json.dumps(manifest))
    told = json.loads((pack / "dormant_config.json").read_text())
    last = sorted(told["weights"])[-1]
    if what == "always":
        told["config"]["acts"] = "always"
    elif what == "tuned":
        told["weights"][last]["sha256"] = "0" * 64
    elif what == "module":
        told["weights"]["model.nothing"] = told["weights"].pop(last)
    elif what == "shape":
        told["weights"][last]["shape"][0] += 1
    elif what == "settings":
        told["config"]["density"] = 2
    elif what == "other delta":
        told["sensor"] = "glove"
    else:
        return
    _rewrite(pack, "dormant_config.json", json.dumps(told))


def _state(model: Any, processor: Any) -> dict[str, Any]:
    """All that an install may change of a model and its processor."""
    return {
        "flags": {name: (p.requires_grad, id(p)) for name, p in model.named_parameters()},
        "modules": {name: (type(m), m.training) for name, m in model.named_modules()},
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "sensors": [
            list(model.sensors),
            dict(model.placeholders),
            list(processor.sensors),
            dict(processor.placeholders),
        ],
        "words": (len(processor.tokenizer), processor.tokenizer.get_vocab()),
        "deltas": list(getattr(model.llm, "dormant", ())),
    }


KINDS = [
    ("version", r"has format 4, this version reads 3: install a newer pairalign"),
    ("key", r"is damaged: config key 'surprise' is unknown"),
    ("json", r"is damaged .*copy the pack again"),
    ("encoder", r"'gluve'.* --plugin"),
    ("base", r"is another: load that base"),
    ("hash", r"sense.safetensors is not what was written: copy the pack again"),
    ("missing", r"dormant_model.safetensors is missing: copy the pack again"),
    ("tuned", r"is not that of the base that the delta was made for"),
    ("module", r"changes model.nothing, which the model does not have"),
    ("shape", r"the delta was made for \(\d+, \d+\)"),
    ("settings", r"density"),
    ("other delta", r"its delta is of 'glove', the manifest names 'points'"),
    ("always", r"'points' and 'touch' share \d+ weights, and both act at the same tokens"),
]


@pytest.mark.parametrize("trains", [False, True], ids=["still", "in training"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside touch"])
@pytest.mark.parametrize(
    ("what", "message"),
    [*KINDS, ("always", r"'points' and 'touch' share \d+ weights, and both act at the same tokens")],
)
def test_an_unfit_pack_is_refused_and_leaves_the_model_as_it_was(
    packs: dict[str, Path], touch: RecomposeRun, tmp_path: Path, what: str, message: str, beside: bool, trains: bool
) -> None:
    if what == "always" and not beside:
        pytest.skip("nothing to meet")
    shutil.copytree(packs["points"], tmp_path / "pack")
    _break(tmp_path / "pack", what)
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]] if beside else [])
    if trains:
        for name, parameter in model.named_parameters():
            if ("weight" in name and "layers.1" in name) or ".bridge." in name or name.endswith("values"):
                parameter.requires_grad_(True)
        model.train()
    else:
        for parameter in model.eval().parameters():
            parameter.requires_grad_(parameter.ndim == 1)
    before = _state(model, processor)
    with pytest.raises(PairalignError, match=message):
        install_pack(model, processor, tmp_path / "pack")
    after = _state(model, processor)
    weights, now = before.pop("weights"), after.pop("weights")
    assert after == before
    assert list(now) == list(weights)
    assert all(torch.equal(now[name], weights[name]) for name in weights)


def test_a_placeholder_that_is_taken_takes_everything_back(
    packs: dict[str, Path], touch: RecomposeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of all refuses: delta, sensors and words of the tokenizer are there by then."""
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    for parameter in model.train().parameters():
        parameter.requires_grad_(parameter.ndim == 1)
    before, add = _state(model, processor), processor.add
    monkeypatch.setattr(processor, "add", lambda name, sensor: add(name, sensor) and model.placeholders["touch"])
    with pytest.raises(ConfigError, match="is taken"):
        install_pack(model, processor, packs["points"])
    after = _state(model, processor)
    weights, now = before.pop("weights"), after.pop("weights")
    assert after == before
    assert now.keys() == weights.keys()


@pytest.mark.parametrize("acts", ["sensor", "always"])
def test_a_refused_delta_freezes_nothing(
    packs: dict[str, Path], touch: RecomposeRun, tmp_path: Path, acts: str
) -> None:
    """By the engine's own door, without a pack around it."""
    shutil.copytree(packs["points"], tmp_path / "pack")
    _break(tmp_path / "pack", "always" if acts == "always" else "tuned")
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    for parameter in model.llm.parameters():
        parameter.requires_grad_(parameter.ndim == 1)
    before = _state(model, processor)
    with pytest.raises((DormantError, DeltaError), match=r"share|is not that of the base"):
        model.llm.install(tmp_path / "pack")  # type: ignore[operator]
    after = _state(model, processor)
    assert after.pop("weights").keys() == before.pop("weights").keys()
    assert after == before


def test_another_base_is_refused(packs: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(1)
    build_base(width=32, layers=2, vision_layers=1).save_pretrained(tmp_path / "base")
    build_processor().save_pretrained(tmp_path / "base")
    with pytest.raises(PackError, match=r"was made for the base .* is another: load that base"):
        load_sensor_model(str(tmp_path / "base"), [packs["touch"]])


def test_a_base_whose_decoder_was_tuned_is_refused(packs: dict[str, Path], touch: RecomposeRun) -> None:
    model, processor = load_sensor_model(touch.config.base, [])
    with torch.no_grad():
        model.llm.model.language_model.layers[0].mlp.up_proj.weight[0, 0] += 1  # type: ignore[union-attr, index]
    with pytest.raises(DeltaError, match=r"is not that of the base that the delta was made for"):
        install_pack(model, processor, packs["touch"])
    assert not model.sensors


def test_what_cannot_be_exported_is_refused(touch: RecomposeRun, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(PackError, match=r"holds something already"):
        export_pack(touch, tmp_path / "full")
    with pytest.raises(CheckpointError, match=r"is not finished"):
        export_pack(tmp_path, tmp_path / "pack")
    with pytest.raises(PackError, match=r"has no manifest.json"):
        read_manifest(tmp_path)


def test_a_pack_is_installed_at_a_share_of_the_way(packs: dict[str, Path], touch: RecomposeRun) -> None:
    """At 1 as it is, at 0 as the base, between them on the line; what was refused left nothing behind."""
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    whole, run = logits(model, processor, touch, "touch"), touch
    ends = {name: u.values.clone() for name, u in model.llm.updates("touch").items()}  # type: ignore[operator]
    with model.llm.disable_adapter():  # type: ignore[operator]
        base = logits(model, processor, run, "touch")
    for share in (0.0, 0.5, 1.0):
        model, processor = load_sensor_model(touch.config.base, [packs["touch"]], pull_back=share)
        for name, update in model.llm.updates("touch").items():  # type: ignore[operator]
            start = update.take(model.llm.get_submodule(name).base_weight())  # type: ignore[operator,union-attr]
            assert torch.allclose(update.values, start + share * (ends[name] - start), atol=1e-7)
        said = logits(model, processor, run, "touch")
        assert torch.equal(said, base) == (share == 0)
        assert torch.equal(said, whole) == (share == 1)


def test_what_has_no_weights_beside_the_bases_is_not_taken_back(packs: dict[str, Path], touch: RecomposeRun) -> None:
    with pytest.raises(PackError, match="they are in the model's own weights"):
        load_sensor_model(str(packs["touch"] / "merged"), [packs["touch"]], pull_back=0.5)
    with pytest.raises(ConfigError, match=r"pull_back=2: give a number from 0 to 1"):
        load_sensor_model("nowhere", [packs["touch"]], pull_back=2)


def test_the_command_line_installs_at_a_share_too(
    packs: dict[str, Path],
    touch: RecomposeRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    install = DormantModel.pull_back
    monkeypatch.setattr(DormantModel, "pull_back", lambda self, *told: (given.append(told), install(self, *told))[1])
    World(seed=1).sample(0, None, ("touch",))["touch"].save(tmp_path / "g.png")
    words = ["ask", str(packs["touch"]), "is it soft?", "--base", touch.config.base, "--touch", str(tmp_path / "g.png")]
    assert main([*words, "--device", "cpu", "--tokens", "2", "--pull-back", "0.25"]) == 0
    assert given == [("touch", 0.25)]
    capsys.readouterr()
    assert main([*words, "--pull-back", "3"]) == 2
    assert "pull_back=3.0: give a number from 0 to 1" in capsys.readouterr().err
