"""Packs and runs pushed to a hub on the loopback and fetched: the same files, the same answers, nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from fake_hub import Hub, serve
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file, save_file
from stage_two import short_run

import pairalign as pa
from pairalign import PublishedRun, SensorPack
from pairalign.cli.main import main
from pairalign.core.errors import CheckpointError, HubError, IdentityError, PackError, StorageError
from pairalign.data.world import World
from pairalign.evaluate.run import evaluate_run
from pairalign.export.manifest import read_manifest
from pairalign.hub.place import NAME, find_run, folder_name, is_cached
from pairalign.hub.published import published


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.chdir(tmp_path)
        yield hub


@pytest.fixture(scope="module")
def pack(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    dormant = {"score": "magnitude", "structure": "rows", "density": 0.2}
    run = short_run(setup, folder / "run", dormant=dormant)
    return pa.export_pack(run, folder / "touch", merge=True)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "touch.png"
    World(seed=9).sample(0, None, ("touch",))["touch"].save(path)
    return path


def test_a_pack_is_pushed_with_its_card_and_asked_by_its_name(
    hub: Hub, setup: Path, pack: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(pack), "org/touch", "--private"]) == 0
    assert "pushed: http://127.0.0.1" in capsys.readouterr().out
    assert hub.private == {"org/touch": True}
    told = read_manifest(pack)
    assert set(hub.repos["org/touch"]) - {".gitattributes"} == {*told.files, "manifest.json"}
    card = ModelCard(hub.repos["org/touch"]["README.md"].decode())
    assert (card.data.library_name, card.data.license) == ("pairalign", "apache-2.0")
    assert {"pairalign", "sensor-pack", "touch", "dormant"} <= set(card.data.tags)
    assert card.data.base_model is None  # a folder is no name that others find
    results = json.loads((pack / "results.json").read_text())
    found = {one.dataset_name: one.metric_value for one in card.data.eval_results}
    asked = {**results["after"]["validation"], **results["after"]["held_out"]}
    assert found == {task: pytest.approx(score["accuracy"], abs=1e-4) for task, score in asked.items()}
    assert '["org/touch"]' in card.text

    words = ["--touch", str(picture), "what is it?", "--base", str(setup / "base"), "--tokens", "4"]
    assert main(["ask", str(pack), *words]) == 0
    here = capsys.readouterr().out
    hub.asked.clear()
    assert main(["ask", "org/touch", *words]) == 0
    assert capsys.readouterr().out == here
    assert not any("merged/" in one for one in hub.asked)  # which nobody needs beside the base

    fetched = SensorPack.from_pretrained("org/touch")
    assert is_cached(fetched.folder)
    _, processor = fetched.load(str(setup / "base"))
    assert list(processor.sensors) == ["touch"]


def test_a_revision_is_kept_and_a_push_leaves_nothing_of_the_one_before(hub: Hub, pack: Path, tmp_path: Path) -> None:
    first = SensorPack(pack).push_to_hub("org/touch").rpartition("/")[2]
    hub.commits["org/touch"][-1][1]["stale.txt"] = b"of an earlier version"
    hub.commits["org/touch"][-1][1]["code.py"] = b"raise SystemExit"
    was = SensorPack.from_pretrained("org/touch").folder
    assert was.name == first
    assert not (was / "code.py").exists()
    SensorPack(pack).push_to_hub("org/touch")
    assert not {"stale.txt", "code.py"} & set(hub.repos["org/touch"])
    assert SensorPack.from_pretrained(f"org/touch@{first}").folder == was
    assert SensorPack.from_pretrained("org/touch", revision=first).folder == was
    assert SensorPack.from_pretrained("org/touch").folder != was


def test_what_came_through_is_compared_with_its_hashes(hub: Hub, pack: Path, tmp_path: Path) -> None:
    SensorPack(pack).push_to_hub("org/touch")
    told, files = hub.commits["org/touch"][-1]
    files["dormant_model.safetensors"] = files["dormant_model.safetensors"][:-1] + b"?"
    with pytest.raises(PackError, match=r"dormant_model\.safetensors is not what was written"):
        SensorPack.from_pretrained("org/touch")
    files["manifest.json"] = files["manifest.json"].replace(b'"receipt.json"', b'"../../../x.json"')
    with pytest.raises(PackError, match="names a file"):
        SensorPack.from_pretrained("org/touch", cache_dir=tmp_path / "other")
    broken = Path(shutil.copytree(pack, tmp_path / "broken"))
    (broken / "sense.safetensors").write_bytes(b"cut")
    with pytest.raises(PackError, match=r"sense\.safetensors is not what was written"):
        SensorPack(broken)
    (broken / "merged" / "model.safetensors").write_bytes(b"cut")
    shutil.copy(pack / "sense.safetensors", broken)
    with pytest.raises(PackError, match=r"model\.safetensors is not what was written"):
        SensorPack(broken).push_to_hub("org/touch")
    assert hub.commits["org/touch"][-1][0] == told


def test_a_link_in_a_folder_that_only_looks_like_a_cache_is_refused(hub: Hub, pack: Path, tmp_path: Path) -> None:
    SensorPack(pack).push_to_hub("org/touch")
    folder = SensorPack.from_pretrained("org/touch").folder
    (tmp_path / "elsewhere").write_bytes((folder / "sense.safetensors").read_bytes())
    (folder / "sense.safetensors").unlink()
    (folder / "sense.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackError, match="a link that leaves the pack"):
        read_manifest(folder)


def test_an_aligned_run_goes_without_this_machines_places_and_without_code(
    hub: Hub, setup: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(setup / "demo" / "run", tmp_path / "space"))
    evaluate_run(run, setup / "demo" / "pairs" / "pool", progress=False)
    (run / "notes.txt").write_text("mine")
    assert main(["push", str(run), "org/space", "--dry-run"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert hub.commits == {}
    assert main(["push", str(run), "org/space"]) == 0
    files = hub.repos["org/space"]
    sent = {"README.md", "config.yaml", "model.safetensors", "versions.json", "evaluation/metrics.json"}
    assert set(files) - {".gitattributes"} == sent
    assert not any(str(tmp_path).encode() in data or str(setup).encode() in data for data in files.values())
    card = ModelCard(files["README.md"].decode())
    assert {"aligned-sensors", "touch", "synthetic-data"} <= set(card.data.tags)
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    recall = metrics["pools"]["pool/test"]["pairs"]["image-touch"]["retrieval"]["forward"]["R@1"]["value"]
    indexed = {one.metric_name.partition(":")[0]: one.metric_value for one in card.data.eval_results}
    assert indexed["image to touch, trained pairs"] == pytest.approx(recall, abs=1e-4)
    assert len(indexed) == 12
    assert "emergent" in card.text
    assert "synthetic" in card.text

    mine = pa.load_aligned(run).embed("touch", picture)
    for opened in (PublishedRun.from_pretrained("org/space").open(), pa.load_aligned("org/space")):
        assert opened.embed("touch", picture).equal(mine)
    with pytest.raises(StorageError, match="lies in the Hub's cache, where nothing else is written: give --out"):
        evaluate_run("org/space", setup / "demo" / "pairs" / "pool", progress=False)


def test_stage_two_reads_an_aligned_run_by_its_name(hub: Hub, setup: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(setup / "demo" / "run", tmp_path / "space"))
    first = PublishedRun(run).push_to_hub("org/space").rpartition("/")[2]
    shared = {"dormant": {"score": "magnitude", "structure": "rows", "density": 0.2}, "held_out": {}, "validation": {}}
    sensors = {"touch": {"run": f"org/space@{first}", "tokens": 2}}
    taught = short_run(setup, tmp_path / "taught", sensors=sensors, **shared)
    here = short_run(setup, tmp_path / "here", **shared)
    for name, tensor in here.model.sensors.state_dict().items():
        assert torch.equal(taught.model.sensors.state_dict()[name], tensor)
    assert read_manifest(pa.export_pack(taught, tmp_path / "pack")).sensors.keys() == {"touch"}
    with pytest.raises(HubError, match="run 'org/nowhere' is no folder here"):
        short_run(setup, tmp_path / "none", sensors={"touch": {"run": "org/nowhere"}}, **shared)
    (tmp_path / "org" / "space").mkdir(parents=True)  # in the current folder, which is not `root`
    with pytest.raises(CheckpointError, match=r"org/space' has no config\.yaml"):
        short_run(setup, tmp_path / "none", sensors={"touch": {"run": "org/space"}}, **shared)

    PublishedRun(run).push_to_hub("org/latest")
    moving = {"sensors": {"touch": {"run": "org/latest", "tokens": 2}}, **shared}
    short_run(setup, tmp_path / "moving", **moving)
    asked = len(hub.asked)
    assert short_run(setup, tmp_path / "moving", **moving).finished
    assert len(hub.asked) > asked
    weights = load_file(run / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, run / "model.safetensors")
    hub.commits["org/latest"][-1][1]["model.safetensors"] = (run / "model.safetensors").read_bytes()
    PublishedRun(run).push_to_hub("org/latest")
    with pytest.raises(IdentityError, match="stage-one run of touch"):
        short_run(setup, tmp_path / "moving", **moving)


def test_plugins_stay_here_and_the_card_names_them(hub: Hub, setup: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(setup / "demo" / "run", tmp_path / "space"))
    plugin = tmp_path / "glove.py"
    plugin.write_text("# registers nothing that this run needs\n")
    for name, told in (("config.yaml", yaml.safe_load), ("identity.json", json.loads)):
        values = told((run / name).read_text())
        (values if name == "config.yaml" else values["config"])["plugins"] = [str(plugin)]
        (run / name).write_text(json.dumps(values))
    from pairalign.runs.plugins import name_plugins

    name_plugins([plugin])
    PublishedRun(run).push_to_hub("org/space")
    assert "glove.py" not in hub.repos["org/space"]
    assert yaml.safe_load(hub.repos["org/space"]["config.yaml"])["plugins"] == []
    assert "plugins=['glove.py']" in hub.repos["org/space"]["README.md"].decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["push", "PACK", "a b"], "'a b' is no name of a repository"),
        (["push", "PACK", "org/touch@v1"], "is no name of a repository: give ORG/NAME"),
        (["push", "nowhere", "org/touch"], "'nowhere' is neither a sensor pack"),
        (["ask", "org/nothing", "?"], "pack 'org/nothing' is no folder here, and could not be had from the Hub"),
        (["ask", "org/there@v9", "?"], "could not be had from the Hub"),
        (["ask", "org/there", "?"], "could not be had from the Hub"),
        (["ask", "nowhere", "?"], "pack 'nowhere' has no manifest.json"),
    ],
)
def test_what_is_not_there_is_one_line(
    hub: Hub, pack: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.commit("org/there", {"README.md": b"another kind of model"})
    assert main([str(pack) if word == "PACK" else word for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("pairalign: ")]) == 1
    assert message in lines[-1]


def test_nothing_is_sent_without_a_login_or_a_hub(
    hub: Hub, pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert main(["push", str(pack), "org/touch"]) == 2
    assert "'org/touch' could not be pushed" in capsys.readouterr().err
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", str(pack), "org/touch"]) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert hub.commits == {}


def test_names_and_folders(hub: Hub, tmp_path: Path) -> None:
    assert NAME.fullmatch("org/name@refs/pr/1")["revision"] == "refs/pr/1"  # type: ignore[index]
    assert folder_name("org/name@v1") == "name"
    assert folder_name("packs/touch/") == "touch"
    (tmp_path / "runs" / "space").mkdir(parents=True)
    assert find_run("runs/space") == Path("runs/space")
    assert hub.asked == []
    with pytest.raises(HubError, match="neither a sensor pack"):
        published(tmp_path)
