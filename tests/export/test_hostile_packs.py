"""A stranger's packs: nothing is read that has no hash or lies outside, and a refusal leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_two import short_run

from pairalign import export_pack, install_pack, load_sensor_model, uninstall_pack
from pairalign.cli.main import main
from pairalign.core.errors import PairalignError
from pairalign.export.manifest import find_base, read_manifest
from pairalign.files import sha256_file
from pairalign.finetune.run import RecomposeRun

Change = Callable[[Path, dict[str, Any]], object]


@pytest.fixture(scope="module")
def pack(touch: RecomposeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_pack(touch, tmp_path_factory.mktemp("packs") / "touch", merge=True)


@pytest.fixture(scope="module")
def whole(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that goes with its own model alone."""
    folder = tmp_path_factory.mktemp("whole")
    run = short_run(setup, folder / "run", method="full", options={}, dormant={})
    return export_pack(run, folder / "pack", merge=True)


def changed(pack: Path, tmp_path: Path, change: Change, *, rehash: bool = True) -> Path:
    """A copy of a pack with a change, the hashes of what is named made right."""
    copy = tmp_path / "pack"
    shutil.copytree(pack, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    change(copy, manifest)
    if rehash:
        there = {name: copy / name for name in manifest["files"]}
        manifest["files"] |= {name: sha256_file(path) for name, path in there.items() if path.is_file()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x40
    path.write_bytes(data)


def state(model: Any, processor: Any) -> dict[str, Any]:
    """All that an install may change."""
    return {
        "weights": {name: value.clone() for name, value in model.llm.state_dict().items()},
        "classes": {name: type(part).__name__ for name, part in model.llm.named_modules()},
        "training": {name: part.training for name, part in model.llm.named_modules()},
        "grads": {name: weight.requires_grad for name, weight in model.llm.named_parameters()},
        "senses": [*model.senses, model.placeholders, list(processor.senses), processor.placeholders],
        "words": processor.tokenizer.get_vocab(),
        "reserved": processor.reserved,
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    weights = one["weights"].keys() == other["weights"].keys() and all(
        torch.equal(value, other["weights"][name]) for name, value in one["weights"].items()
    )
    return weights and {**one, "weights": 0} == {**other, "weights": 0}


def forget(pack: Path, told: dict[str, Any]) -> None:
    told["files"] = {}
    flip(pack / "sense.safetensors")


def drop(*names: str) -> Change:
    return lambda pack, told: [told["files"].pop(name) for name in names]


def link_out(pack: Path, told: dict[str, Any]) -> None:
    (pack.parent / "outside.json").write_text((pack / "results.json").read_text())
    (pack / "results.json").unlink()
    (pack / "results.json").symlink_to(pack.parent / "outside.json")


def other_sensor(pack: Path, told: dict[str, Any]) -> None:
    text = (pack / "dormant_config.json").read_text()
    (pack / "dormant_config.json").write_text(text.replace('"sensor": "touch"', '"sensor": "glove"'))


def rename(name: str) -> Change:
    def change(pack: Path, told: dict[str, Any]) -> None:
        tensors = load_file(pack / "sense.safetensors")
        save_file({name + key[len("touch") :]: value for key, value in tensors.items()}, pack / "sense.safetensors")
        told |= {"senses": {name: told["senses"]["touch"]}, "delta": name}

    return change


def recipe(**parts: Any) -> Change:
    return lambda pack, told: told["senses"]["touch"].update(parts)


def options(**parts: Any) -> Change:
    return lambda pack, told: told["senses"]["touch"]["options"].update(parts)


REFUSED: dict[str, tuple[Change, str]] = {
    "no hashes, a weight flipped": (forget, "has no hash of sense.safetensors"),
    "no hash of the sensors": (drop("sense.safetensors"), "has no hash of sense.safetensors"),
    "no hash of the delta": (drop("dormant_model.safetensors"), "has no hash of dormant_model.safetensors"),
    "no hash of the delta's settings": (drop("dormant_config.json"), "has no hash of dormant_config.json"),
    "an absolute name": (
        lambda pack, told: told["files"].update({"/etc/hostname": "0"}),
        "'/etc/hostname': a pack holds",
    ),
    "a name above": (lambda pack, told: told["files"].update({"../x.json": "0"}), "'../x.json': a pack holds"),
    "a Windows name": (lambda pack, told: told["files"].update({"C:\\x.json": "0"}), "a pack holds weights and words"),
    "a pickle": (lambda pack, told: told["files"].update({"x.pt": "0"}), "'x.pt': a pack holds weights"),
    "code": (lambda pack, told: told["files"].update({"merged/x.py": "0"}), "'merged/x.py': a pack holds weights"),
    "a link out of the pack": (link_out, "is a link that leaves the pack"),
    "a delta of another sensor": (other_sensor, "its delta is of 'glove', the manifest names 'touch'"),
    "a delta by another name": (lambda pack, told: told.update(delta="zzz"), "names a delta 'zzz'"),
    "a sensor called image": (rename("image"), "names a sensor 'image'"),
    "a sensor called forward": (rename("forward"), "names a sensor 'forward'"),
    "a sensor called .touch": (lambda pack, told: told.update(senses={".touch": told["senses"]["touch"]}), "'.touch'"),
    "no sensors": (lambda pack, told: told.update(senses={}), "names no sensor"),
    "no class of the base": (lambda pack, told: told["base"].pop("class"), "does not say the base's class"),
    "a base that is a path": (lambda pack, told: told["base"].update(name="/etc"), "names a base '/etc'"),
    "a base above this package": (lambda pack, told: told["base"].update(name="pairalign:../.."), "names a base"),
    "a dtype of none": (lambda pack, told: told["base"].update(dtype="load"), "dtype 'load', which torch has not"),
    "an encoder that reads a place": (options(pretrained="/etc/passwd"), "would read '/etc/passwd' of this machine"),
    "an encoder that reads my home": (options(model={"a": ["~/x"]}), "would read '~/x' of this machine"),
    "an encoder of another size": (options(width=50_000), "are not those of its weights"),
    "a latent of another size": (recipe(latent={"shared": 50_000, "private": 4}), "are not those of its weights"),
    "a latent without end": (recipe(latent={"shared": 10**9, "private": 4}), "give a whole number from 1 to 65536"),
    "a bridge without end": (recipe(tokens=10**12), "are not those of its weights"),
    "a recomposition of terabytes": (
        recipe(bridge="recomposition", sizes={"mean": [10**6, 10**6], "map": [1, 1], "gate": [1], "length": [1]}),
        "are not those of its weights",
    ),
}


@pytest.fixture(scope="module")
def fresh(touch: RecomposeRun) -> tuple[Any, Any]:
    """A base in use: one part of it trains, and is in training mode."""
    model, processor = load_sensor_model(touch.config.base, [])
    model.llm.get_output_embeddings().train().requires_grad_(True)
    return model, processor


@pytest.mark.parametrize("what", REFUSED)
def test_a_hostile_pack_is_refused_and_leaves_no_trace(
    pack: Path, fresh: tuple[Any, Any], tmp_path: Path, what: str
) -> None:
    change, told = REFUSED[what]
    copy = changed(pack, tmp_path, change)
    before = state(*fresh)
    with pytest.raises(PairalignError, match=told.replace(".", r"\.")):
        install_pack(*fresh, copy)
    assert same(before, state(*fresh))


@pytest.mark.parametrize("failing", ["the sense", "the placeholder", "the delta"])
def test_an_install_that_fails_at_its_end_leaves_no_trace(
    pack: Path, fresh: tuple[Any, Any], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairalign.dormant.model import DormantModel
    from pairalign.sensors.model import SensorModel
    from pairalign.sensors.processor import SensorProcessor

    owner: Any = {"the sense": SensorModel, "the placeholder": SensorProcessor, "the delta": DormantModel}[failing]
    name = "install" if failing == "the delta" else "add"
    whole = getattr(owner, name)

    def fails(*args: Any) -> None:
        whole(*args)
        raise MemoryError("no room")

    before = state(*fresh)
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(MemoryError):
        install_pack(*fresh, pack)
    monkeypatch.undo()
    assert same(before, state(*fresh))
    assert install_pack(*fresh, pack) == ("touch",)
    uninstall_pack(*fresh, "touch")
    assert {**state(*fresh), "weights": 0}["classes"] == before["classes"]


def test_the_hub_s_cache_of_links_is_a_pack(pack: Path, fresh: tuple[Any, Any], tmp_path: Path) -> None:
    home = tmp_path / "models--a--b"
    shutil.copytree(pack, home / "snapshots" / "1")
    (home / "blobs").mkdir()
    for number, path in enumerate(sorted((home / "snapshots" / "1").rglob("*.*"))):
        if path.is_file():
            shutil.move(path, home / "blobs" / str(number))
            path.symlink_to(os.path.relpath(home / "blobs" / str(number), path.parent))
    assert read_manifest(home / "snapshots" / "1").delta == "touch"


def test_a_whole_model_is_compared_file_by_file(whole: Path, tmp_path: Path) -> None:
    assert find_base(whole) == str(whole / "merged")
    manifest = read_manifest(whole)
    assert manifest.whole
    assert {name for name in manifest.files if "/" in name} == {
        f"merged/{p.name}" for p in (whole / "merged").iterdir()
    }
    flip((tmp_path / "a").joinpath(*_copy(whole, tmp_path / "a"), "model.safetensors"))
    for load in (
        lambda: find_base(tmp_path / "a"),
        lambda: load_sensor_model(str(tmp_path / "a/merged"), [tmp_path / "a"]),
    ):
        with pytest.raises(PairalignError, match=r"merged/model.safetensors is not what was written"):
            load()
    _copy(whole, tmp_path / "b")
    (tmp_path / "b" / "merged" / "adapter_config.json").write_text("{}")
    with pytest.raises(PairalignError, match=r"no hash of merged/adapter_config.json.*--base"):
        find_base(tmp_path / "b")
    names = [name for name in manifest.files if "/" in name]
    copy = changed(whole, tmp_path, lambda pack, told: drop(*names)(pack, told | {"format": 2}))
    with pytest.raises(PairalignError, match=r"export the pack again"):
        find_base(copy)
    assert find_base(copy, str(copy / "merged")) == str(copy / "merged")


def _copy(pack: Path, to: Path) -> tuple[str]:
    shutil.copytree(pack, to)
    return ("merged",)


def test_code_of_a_base_that_only_the_pack_names_is_not_trusted(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PairalignError, match="whose code you have not named"):
        find_base(pack, trust_remote_code=True)
    assert find_base(pack, "mine", trust_remote_code=True) == "mine"
    assert main(["ask", str(pack), "is it soft?", "--trust-remote-code"]) == 2
    assert "say the base yourself, --base NAME" in capsys.readouterr().err


def test_plugins_that_a_pack_names_are_not_loaded(pack: Path, fresh: tuple[Any, Any], tmp_path: Path) -> None:
    def change(copy: Path, told: dict[str, Any]) -> None:
        (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        told |= {"plugins": ["evil.py", str(copy / "evil.py"), "antigravity"]}

    copy = changed(pack, tmp_path, change)
    assert install_pack(*fresh, copy) == ("touch",)
    uninstall_pack(*fresh, "touch")
    assert not (tmp_path / "ran").exists()


def test_a_question_that_spells_the_base_s_own_picture_token_is_one_line(
    pack: Path, touch: RecomposeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (48, 48), "red").save(tmp_path / "g.png")
    words = ["ask", str(pack), "--base", touch.config.base, "--touch", str(tmp_path / "g.png")]
    capsys.readouterr()
    assert main([*words, "what does <image> mean ?"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pairalign:")]
    assert len(said) == 1
    assert "spells '<image>'" in said[0]
