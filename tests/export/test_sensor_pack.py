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
from pairalign.core.errors import CheckpointError, ConfigError, DeltaError, DormantError, PackError
from pairalign.data.world import World
from pairalign.demo.base import build_base, build_processor
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
    assert manifest.senses["touch"].encoder == "touch_cnn"
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


def test_packs_that_own_the_same_entries_are_refused(
    packs: dict[str, Path], touch: RecomposeRun, tmp_path: Path
) -> None:
    model, processor = load_sensor_model(touch.config.base, [packs["touch"]])
    with pytest.raises(ConfigError, match=r"'touch' is installed already"):
        install_pack(model, processor, packs["touch"])
    shutil.copytree(packs["touch"], tmp_path / "other")
    _rename(tmp_path / "other", "glove")
    before = logits(model, processor, touch, "touch")
    with pytest.raises(DormantError, match=r"'glove' and 'touch' share \d+ weights: each needs its own"):
        install_pack(model, processor, tmp_path / "other")
    assert list(model.senses) == ["touch"]
    assert torch.equal(logits(model, processor, touch, "touch"), before)


def _rename(pack: Path, name: str) -> None:
    """The same pack under another sensor's name, hashes made right."""
    from safetensors.torch import load_file, save_file

    from pairalign.files import sha256_file

    text = (pack / "dormant_config.json").read_text().replace('"sensor": "touch"', f'"sensor": "{name}"')
    (pack / "dormant_config.json").write_text(text)
    tensors = {
        key.replace("touch.", f"{name}.", 1): value for key, value in load_file(pack / "sense.safetensors").items()
    }
    save_file(tensors, pack / "sense.safetensors")
    manifest = json.loads((pack / "manifest.json").read_text())
    manifest |= {"senses": {name: manifest["senses"]["touch"]}, "delta": name}
    manifest["files"] = {file: sha256_file(pack / file) for file in manifest["files"]}
    (pack / "manifest.json").write_text(json.dumps(manifest))


def test_the_merged_checkpoint_is_a_plain_one(packs: dict[str, Path], touch: RecomposeRun) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    merged = AutoModelForImageTextToText.from_pretrained(packs["touch"] / "merged").eval()
    base = AutoModelForImageTextToText.from_pretrained(touch.config.base)
    assert {n: p.shape for n, p in merged.named_parameters()} == {n: p.shape for n, p in base.named_parameters()}
    assert AutoProcessor.from_pretrained(packs["touch"] / "merged").tokenizer.chat_template
    ids = torch.tensor([[1, 7, 9, 20]])
    with torch.no_grad():
        found, expected = merged(input_ids=ids).logits, touch.model.llm(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


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
        manifest["senses"]["touch"]["encoder"] = "gluve"
    elif what == "hash":
        (pack / "sense.safetensors").write_bytes(b"broken")
    elif what == "missing":
        (pack / "dormant_model.safetensors").unlink()
    path.write_text("{" if what == "json" else json.dumps(manifest))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("version", r"has format 4, this version reads 3: install a newer pairalign"),
        ("key", r"is damaged: config key 'surprise' is unknown"),
        ("json", r"is damaged .*copy the pack again"),
        ("encoder", r"'gluve'.* --plugin"),
        ("hash", r"sense.safetensors is not what was written: copy the pack again"),
        ("missing", r"dormant_model.safetensors is missing: copy the pack again"),
    ],
)
def test_an_unfit_pack_is_refused_and_leaves_the_model_as_it_was(
    packs: dict[str, Path], touch: RecomposeRun, tmp_path: Path, what: str, message: str
) -> None:
    shutil.copytree(packs["touch"], tmp_path / "pack")
    _break(tmp_path / "pack", what)
    model, processor = load_sensor_model(touch.config.base, [])
    before = list(model.llm.state_dict())
    with pytest.raises(PackError, match=message):
        install_pack(model, processor, tmp_path / "pack")
    assert not model.senses
    assert not processor.placeholders
    assert list(model.llm.state_dict()) == before


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
    assert not model.senses


def test_what_cannot_be_exported_is_refused(touch: RecomposeRun, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(PackError, match=r"holds something already"):
        export_pack(touch, tmp_path / "full")
    with pytest.raises(CheckpointError, match=r"is not finished"):
        export_pack(tmp_path, tmp_path / "pack")
    with pytest.raises(PackError, match=r"has no manifest.json"):
        read_manifest(tmp_path)
