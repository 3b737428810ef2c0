"""A pack's card: its own lines of code run as printed, elsewhere; and nothing in a pack leads back to this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_two import TOUCH, short_run, values

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core import registry
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import PackError
from pairalign.data.world import World
from pairalign.export.local import check_options, name_base, without_paths
from pairalign.export.manifest import find_base, read_manifest
from pairalign.finetune.run import load_recomposed

PLUGIN = """
from pairalign import register_encoder
from pairalign_touch.cnn import TouchCNN

@register_encoder("glove_cnn")
class GloveCNN(TouchCNN):
    pass
"""


@pytest.fixture(scope="module")
def place(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a glove was taught, with an encoder in a file: the runs of both stages, and a recording."""
    place = tmp_path_factory.mktemp("workshop")
    (place / "glove.py").write_text(PLUGIN)
    World(seed=9).sample(0, None, ("touch",))["touch"].save(place / "glove.png")
    told = yaml.safe_load((setup / "demo" / "run" / "config.yaml").read_text())
    told["modalities"] = {name: told["modalities"][name] for name in ("touch", "image")}
    told["modalities"]["touch"]["encoder"] = "glove_cnn"
    told["edges"] = [edge for edge in told["edges"] if set(edge["between"]) == {"image", "touch"}]
    told |= {"out": str(place / "aligned"), "plugins": [str(place / "glove.py")]}
    pa.align_pairs(load_config(AlignConfig, told), progress=False)
    task = {**TOUCH, "signals": {"touch": "glove"}}
    short_run(
        setup,
        place / "taught",
        sensors={"glove": {"run": str(place / "aligned"), "modality": "touch", "tokens": 2}},
        tasks={"glove": task},
        validation={"glove": {**task, "split": "val"}},
        dormant={"score": "magnitude", "structure": "rows", "density": 0.2},
        train={**values(setup, place)["train"], "measure_with_signals": True},
    )
    return place


@pytest.fixture(scope="module")
def pack(place: Path) -> Path:
    return pa.export_pack(place / "taught", place / "packs" / "glove")


def code(card: Path) -> str:
    found = re.search(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def new_session(place: Path, pack: Path) -> None:
    """One that knows no glove."""
    registry._registered.pop("glove_cnn", None)


@pytest.fixture
def elsewhere(setup: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a card says is needed beside the pack."""
    for file in ("glove.py", "glove.png"):
        shutil.copyfile(place / file, tmp_path / file)
    shutil.copytree(setup / "base", tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load_results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return found


def expected(run: Path, signal: Path) -> str:
    registry._registered.pop("glove_cnn", None)  # what the card registered is another file's
    loaded = load_recomposed(run)
    prompt = loaded.results["asked"]["glove"]["prompt"]
    assert prompt.startswith("{glove} ")
    return pa.answer(loaded.model, loaded.processor, prompt, signals={"glove": [pa.read_signal(signal)]})


def test_the_cards_own_lines_run_as_printed(
    place: Path, pack: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pack, elsewhere / "glove")
    exec(code(elsewhere / "glove" / "README.md"), {})
    assert capsys.readouterr().out.strip() == expected(place / "taught", place / "glove.png")


def test_the_card_of_a_merged_model_needs_no_base(
    setup: Path, place: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = yaml.safe_load((place / "taught" / "config.yaml").read_text())
    parts = {name: told[name] for name in ("sensors", "tasks", "validation")}
    run = short_run(setup, place / "whole", **parts, method="full").folder
    pa.export_pack(run, elsewhere / "whole", merge=True)
    shutil.rmtree(elsewhere / "base")
    registry._registered.pop("glove_cnn", None)
    exec(code(elsewhere / "whole" / "README.md"), {})
    said, prompt = capsys.readouterr().out.strip(), load_results(run)["asked"]["glove"]["prompt"]
    registry._registered.pop("glove_cnn", None)
    assert main(["ask", "whole", "--plugin", "glove.py", "--glove", "glove.png", prompt]) == 0
    assert capsys.readouterr().out.strip() == said
    assert said == expected(run, place / "glove.png")


@pytest.mark.slow
def test_the_cards_own_lines_run_in_a_process_of_their_own(place: Path, pack: Path, elsewhere: Path) -> None:
    shutil.copytree(pack, elsewhere / "glove")
    command = [sys.executable, "-c", code(elsewhere / "glove" / "README.md")]
    done = subprocess.run(command, cwd=elsewhere, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected(place / "taught", place / "glove.png")


def test_nothing_in_a_pack_leads_back_to_this_machine(setup: Path, place: Path, pack: Path, tmp_path: Path) -> None:
    merged = pa.export_pack(place / "taught", tmp_path / "merged", merge=True)
    texts = [
        p for folder in (pack, merged) for p in folder.rglob("*") if p.suffix in (".json", ".md", ".jinja", ".txt")
    ]
    assert len(texts) > 8
    for path in texts:
        text = path.read_text()
        for place_ in (str(setup), str(place), str(Path.home()), "/tmp/", ".partial"):
            assert place_ not in text, (path, place_)
        assert not re.search(r"-0\.0+\b", text), path
    manifest = read_manifest(pack)
    assert manifest.base["name"] == "base"
    assert manifest.base["source"] == "folder"
    assert manifest.plugins == ("glove.py",)
    assert manifest.provenance["stage_one"]["glove"]["plugins"] == ["glove.py"]


def test_a_base_of_ones_own_has_to_be_named(
    setup: Path, place: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ask", str(pack), "--plugin", str(place / "glove.py"), "--glove", str(place / "glove.png"), "is it soft?"]
    assert main(words) == 2
    assert "was made for a base in a folder 'base' (LlavaForConditionalGeneration in float32): say where that is " in (
        capsys.readouterr().err
    )
    assert main([*words, "--base", str(setup / "base")]) == 0
    assert find_base(pack, "mine") == "mine"


def test_an_encoder_that_was_edited_since_is_told(setup: Path, place: Path, pack: Path, tmp_path: Path) -> None:
    """A pack holds no code, so that it goes with whatever is registered: it says where that is not what it was."""
    (tmp_path / "glove.py").write_text(PLUGIN + "\n# another look at the same gel\n")
    base = str(setup / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pa.load_plugin(place / "glove.py")
        pa.load_sensor_model(base, [pack])
    registry._registered.pop("glove_cnn")
    pa.load_plugin(tmp_path / "glove.py")
    with pytest.warns(UserWarning, match="encoder 'glove_cnn' of 'glove' is not the code that the pack was made with"):
        pa.load_sensor_model(base, [pack])


def test_the_base_of_the_package_is_found_anywhere() -> None:
    from pairalign.demo.base import base_folder

    assert name_base(str(base_folder())) == {"name": "pairalign:demo/base", "source": "package"}
    assert name_base("llava-hf/llava-1.5-7b-hf") == {"name": "llava-hf/llava-1.5-7b-hf", "source": "hub"}
    assert pa.load_sensor_model("pairalign:demo/base", [])[0].llm is not None


def test_paths_become_names_and_prompts_stay() -> None:
    told: dict[str, Any] = {"out": "/home/me/run", "prompt": "/what?", "x": ["C:\\data\\a", "~/b", "rel/c", 3, None]}
    assert without_paths(told) == {"out": "run", "prompt": "/what?", "x": ["a", "b", "rel/c", 3, None]}
    with pytest.raises(PackError, match=r"sensor 'touch': its encoder's option weights='/home/me/tower' is a place"):
        check_options("touch", {"size": 3, "weights": "/home/me/tower"})


def test_a_card_of_an_earlier_run_asks_with_its_prompt(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "taught", tmp_path / "old")
    results = json.loads((tmp_path / "old" / "results.json").read_text())
    del results["asked"], results["kept"], results["with_signals"]
    (tmp_path / "old" / "results.json").write_text(json.dumps(results))
    pack = pa.export_pack(tmp_path / "old", tmp_path / "pack")
    assert "with a signal in the prompt" not in (pack / "README.md").read_text()
    assert '"{glove} …"' in code(pack / "README.md") or "{glove}" in code(pack / "README.md")


def test_a_card_has_three_figures_of_what_must_not_be_lost(pack: Path) -> None:
    card = (pack / "README.md").read_text()
    told = json.loads((pack / "results.json").read_text())["with_signals"]["tasks"]["image"]
    assert told["identical"]["differ"] == 0
    for words in (
        "### The same without the sensor, and with a signal in the prompt",
        f"image, without the sensor (n 24): identical: all {told['identical']['compared']:,} answer logits",
        "lost with a signal in front ",
        "| before training | after, without the sensor | after, a signal in front | after, a signal behind |",
        f"| image: image.colour | {told['before']['kinds']['image.colour']['n']} | ",
        "Signals (glove: validation.glove) have nothing to do with the question",
    ):
        assert words in card
