"""A base is measured once by all runs that would measure the same, and anew where anything differs."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_two import IMAGE, TOUCH, killed, settings, short_run, values

from pairalign.cli.main import main
from pairalign.cli.recompose import report
from pairalign.core.errors import ConfigError
from pairalign.finetune import base_cache
from pairalign.finetune.prepare import prepare
from pairalign.finetune.run import plan_recompose, recompose_mllm
from pairalign.runtime import Runtime

TRAIN = {"steps": 2, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "measure_tokens": 2}
NAMES = ("validation/touch", "held_out/image")


def lean(folder: Path, **changes: Any) -> dict[str, Any]:
    train = {**TRAIN, **changes.pop("train", {})}
    few = {"validation": {"touch": {**TOUCH, "split": "val", "limit": 8}}}
    few["held_out"] = {"image": {**IMAGE, "split": "val", "limit": 8}}
    return {**few, "tasks": {"touch": TOUCH}, "cache": str(folder / "cache"), "train": train, **changes}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that the base was asked, in order."""
    asked: list[str] = []
    plain = base_cache.measure_base

    def watched(model: Any, questions: Any, **options: Any) -> Any:
        asked.append(questions.task.name)
        return plain(model, questions, **options)

    monkeypatch.setattr(base_cache, "measure_base", watched)
    return asked


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("base-*.safetensors"))


def test_arms_of_other_methods_take_the_same_figures(setup: Path, tmp_path: Path, measured: list[str]) -> None:
    one = short_run(setup, tmp_path / "one", **lean(tmp_path))
    assert measured == ["touch", "image"]
    assert one.results["base_from"] == {}
    files = kept(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in files}
    assert len(files) == 2
    for method in ("full", "lora", "bridge"):
        other = short_run(setup, tmp_path / method, **lean(tmp_path, method=method, train={"lr": 1e-3}))
        assert measured == ["touch", "image"]
        assert other.results["base"] == one.results["base"]
        assert other.results["history"][0] == one.results["history"][0]
        assert tuple(other.results["base_from"]) == NAMES
        assert {Path(found["from"]) for found in other.results["base_from"].values()} == set(files)
        (line,) = [line for line in report(other.results) if line.startswith("base measured ")]
        when = other.results["base_from"]["held_out/image"]["when"][:16].replace("T", " ")
        assert line == f"base measured {when}, taken from {tmp_path / 'cache'}: {', '.join(NAMES)}"
    assert {path: path.stat().st_mtime_ns for path in files} == written


def test_figures_with_a_cache_are_those_without(setup: Path, tmp_path: Path) -> None:
    acting = {"dormant": {"score": "wanda", "structure": "rows", "acts": "always"}}
    plain, first, second = (
        short_run(setup, tmp_path / name, **{**lean(tmp_path), **acting, **cache})
        for name, cache in (("plain", {"cache": None}), ("first", {}), ("second", {}))
    )
    assert plain.results["history"] == first.results["history"] == second.results["history"]  # drift, too
    assert second.results["history"][-1]["held_out/image/drift"] > 0
    expected = plain.model.state_dict()
    for run in (first, second):
        assert all(value.equal(expected[name]) for name, value in run.model.state_dict().items())


def copied(setup: Path, folder: Path, *names: str) -> Path:
    """A root whose named parts are its own."""
    folder.mkdir()
    for part in ("base", "demo", "lessons"):
        if part in names:
            shutil.copytree(setup / part, folder / part)
        else:
            (folder / part).symlink_to(setup / part)
    return folder


def edit_shard(root: Path) -> dict[str, Any]:
    """One letter of the first question; the index says what it said."""
    (shard,) = sorted((root / "lessons" / "image").glob("val*.tar"))
    with tarfile.open(shard) as tar:
        first = next(one for one in tar.getmembers() if one.name.endswith("question.txt"))
    with shard.open("r+b") as file:
        file.seek(first.offset_data)
        letter = file.read(1)
        file.seek(first.offset_data)
        file.write(letter.swapcase())
    return {}


def edit_template(root: Path) -> dict[str, Any]:
    path = root / "base" / "chat_template.jinja"
    path.write_text(path.read_text() + " ")
    return {"base": str(root / "base")}


def edit_weight(root: Path) -> dict[str, Any]:
    path = root / "base" / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, path, metadata={"format": "pt"})
    return {"base": str(root / "base")}


def edit_settings(root: Path) -> dict[str, Any]:
    path = root / "base" / "config.json"
    told = json.loads(path.read_text())
    told["text_config"]["rms_norm_eps"] = 1e-4
    path.write_text(json.dumps(told))
    return {"base": str(root / "base")}


def edit_stage_one(root: Path) -> dict[str, Any]:
    path = root / "demo" / "run" / "model.safetensors"
    save_file({name: value * 1.01 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    return {}


def held(**changes: Any) -> dict[str, Any]:
    return {"held_out": {"image": {**IMAGE, "split": "val", "limit": 8, **changes}}}


BOTH, SEEN, TOLD = ["touch", "image"], ["touch"], ["image"]
CHANGES: dict[str, tuple[Any, list[str]]] = {
    "nothing": ({}, []),
    "what does not bear on the base": ({"train": {"lr": 0.1, "batch_size": 2}, "max_forgetting": 90.0}, []),
    "a base of other weights": (edit_weight, BOTH),
    "a base of other settings": (edit_settings, BOTH),
    "another chat template": (edit_template, BOTH),
    "another dtype": ({"dtype": "bfloat16"}, BOTH),
    "another attention": ({"attn_implementation": "eager"}, BOTH),
    "batches of another size": ({"train": {"measure_batch_size": 4}}, BOTH),
    "longer free answers": ({"train": {"measure_tokens": 3}}, BOTH),
    "an edited shard": (edit_shard, TOLD),
    "another prompt": (held(prompt="{image} please: {question}"), TOLD),
    "another answer": (held(answer="yes"), TOLD),
    "another split": (held(split="train"), TOLD),
    "another limit": (held(limit=7), TOLD),
    "other words of the probe": (
        {"validation": {"touch": {**TOUCH, "split": "val", "limit": 8, "answer": "no"}}},
        BOTH,
    ),
    "another seed of the bridge": ({"seed": 1}, SEEN),
    "another bridge": ({"sensors": {"touch": {"run": "demo/run", "tokens": 1}}}, SEEN),
    "another stage one": (edit_stage_one, SEEN),
}
OWN = {edit_weight: "base", edit_settings: "base", edit_template: "base", edit_shard: "lessons", edit_stage_one: "demo"}


@pytest.fixture(scope="module")
def first(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    short_run(setup, folder / "run", **lean(folder, method="bridge", train={"steps": 0}))
    return folder


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_is_the_same_is_taken(
    setup: Path, tmp_path: Path, first: Path, measured: list[str], name: str
) -> None:
    change, expected = CHANGES[name]
    root = setup
    if isinstance(change, Callable):  # type: ignore[arg-type]
        root = copied(setup, tmp_path / "root", OWN[change])
        change = change(root)
    train = {"steps": 0, **change.pop("train", {})}
    shutil.copytree(first / "cache", tmp_path / "cache")
    told = {"base": str(setup / "base"), **lean(tmp_path, method="bridge", train=train), **change}
    short_run(root, tmp_path / "run", **told)
    assert measured == expected
    assert len(kept(tmp_path)) == 2 + len(expected)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(data)


def change_score(path: Path) -> None:
    data = path.read_bytes()
    assert b'\\"accuracy\\": ' in data
    path.write_bytes(data.replace(b'\\"accuracy\\": 0', b'\\"accuracy\\": 1', 1))


def swap(path: Path) -> None:
    other = next(one for one in path.parent.iterdir() if one != path)
    shutil.copy(other, path)


@pytest.mark.parametrize("damage", [truncate, flip, change_score, swap])
def test_a_damaged_file_is_named_and_made_anew(
    setup: Path,
    tmp_path: Path,
    first: Path,
    measured: list[str],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    shutil.copytree(first / "cache", tmp_path / "cache")
    hurt = max(kept(tmp_path), key=lambda path: path.stat().st_size)  # that with the held-out answers
    sound = {name: value.clone() for name, value in load_file(hurt).items()}  # it is read from the file when asked
    damage(hurt)
    run = short_run(setup, tmp_path / "run", **lean(tmp_path, method="bridge", train={"steps": 0}))
    assert measured == ["image"]
    assert tuple(run.results["base_from"]) == ("validation/touch",)
    assert f"{str(hurt)!r} is damaged (" in capsys.readouterr().err
    assert all(value.equal(sound[name]) for name, value in load_file(hurt).items())
    short_run(setup, tmp_path / "next", **lean(tmp_path, method="bridge", train={"steps": 0}))
    assert measured == ["image"]


def test_what_a_killed_run_left_half_written_is_not_read(
    setup: Path, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(tensors: Any, path: Path, **about: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", dies)
        with pytest.raises(KeyboardInterrupt):
            short_run(setup, tmp_path / "run", **lean(tmp_path, method="bridge", train={"steps": 0}))
    assert kept(tmp_path) == []
    short_run(setup, tmp_path / "run", **lean(tmp_path, method="bridge", train={"steps": 0}))
    assert measured == ["touch", "touch", "image"]


def test_a_full_disk_costs_the_cache_and_not_the_run(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(tensors: Any, path: Path, **about: Any) -> None:
        if Path(path).name.startswith("base-"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_file(tensors, path, **about)

    monkeypatch.setattr("safetensors.torch.save_file", full)
    run = short_run(setup, tmp_path / "run", **lean(tmp_path, method="bridge", train={"steps": 0}))
    assert run.results["base"]
    assert "what the base answers is not kept" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_refused_before_anything_is_measured(
    setup: Path, tmp_path: Path, measured: list[str]
) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match=r"^cache='.*cache': .* is a file: choose another folder\.$"):
        recompose_mllm(settings(setup, tmp_path / "run", **lean(tmp_path)), progress=False)
    assert measured == []
    assert not (tmp_path / "run").exists()


def test_a_dry_run_writes_none(setup: Path, tmp_path: Path) -> None:
    plan_recompose(settings(setup, tmp_path / "run", **lean(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_scores_lie_in_the_same_folder_unless_told(setup: Path, tmp_path: Path) -> None:
    short_run(setup, tmp_path / "one", **lean(tmp_path, train={"steps": 0}))
    assert len(list((tmp_path / "cache").glob("splash-*.safetensors"))) == 1
    told = lean(tmp_path, train={"steps": 0}, score_cache=str(tmp_path / "scores"))
    short_run(setup, tmp_path / "two", **told)
    assert len(list((tmp_path / "scores").glob("splash-*.safetensors"))) == 1
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("cached", [False, True])
def test_a_resumed_run_measures_nothing_of_the_base(
    setup: Path, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    told = lean(tmp_path, train={"steps": 3, "checkpoint_every": 1, "validate_every": 1}, max_forgetting=90.0)
    told |= {} if cached else {"cache": None}
    whole = short_run(setup, tmp_path / "whole", **told)
    with killed(2):
        short_run(setup, tmp_path / "killed", **told)
    before = list(measured)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    again = short_run(setup, tmp_path / "killed", **told)
    assert measured == before
    assert again.results["history"] == whole.results["history"]
    assert again.results["base"] == whole.results["base"]
    assert tuple(again.results["base_from"]) == (NAMES if cached else ())  # as its first part had told


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_died_before_its_first_checkpoint_measures_nothing_again(
    setup: Path, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    told = {**lean(tmp_path, method="full", train={"lr": 1e-3}), "cache": None}
    whole = short_run(setup, tmp_path / "whole", **told)
    assert not (tmp_path / "whole" / "chosen").exists()
    measured.clear()

    with killed():
        short_run(setup, tmp_path / "run", **told)
    again = short_run(setup, tmp_path / "run", fresh=fresh, **told)
    assert measured == ["touch", "image"] * (1 + fresh)
    left = [tmp_path / at / "results.json" for at in ("run", "whole")]
    assert left[0].read_bytes() == left[1].read_bytes()
    assert again.results["history"] == whole.results["history"]
    assert not (tmp_path / "run" / "chosen").exists()
    aside = [path.name for path in (tmp_path / "run.old-1" / "chosen").glob("base-*")]
    assert len(aside) == 2 * fresh


def test_lora_that_rewrites_the_base_neither_takes_nor_gives(
    setup: Path, tmp_path: Path, first: Path, measured: list[str]
) -> None:
    shutil.copytree(first / "cache", tmp_path / "cache")
    files = {path: path.read_bytes() for path in kept(tmp_path)}
    for start, expected in (("pissa", ["touch", "image"]), (False, [])):
        measured.clear()
        options = {"rank": 2, "init_lora_weights": start}
        told = lean(tmp_path, method="lora", options=options, train={"steps": 0})
        run = short_run(setup, tmp_path / str(start), **told)
        assert measured == expected
        assert bool(run.results["base_from"]) == (not expected)
    assert {path: path.read_bytes() for path in kept(tmp_path)} == files


@pytest.mark.slow
def test_two_runs_at_once_leave_what_one_would_and_the_command_says_where_figures_are_from(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(name: str) -> list[str]:
        told = values(setup, tmp_path / name, **lean(tmp_path, method="bridge", train={"steps": 1}))
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
        return ["recompose", str(tmp_path / f"{name}.json"), "--quiet"]

    both = [subprocess.Popen([sys.executable, "-m", "pairalign", *command(name)]) for name in ("one", "two")]
    assert [process.wait(timeout=280) for process in both] == [0, 0]
    assert main(command("three")) == 0
    assert f"taken from {tmp_path / 'cache'}: {', '.join(NAMES)}\n" in capsys.readouterr().out
    one, two, three = (json.loads((tmp_path / at / "results.json").read_text()) for at in ("one", "two", "three"))
    assert one["base"] == two["base"] == three["base"]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert {Path(found["from"]) for found in three["base_from"].values()} == set(kept(tmp_path))


def test_code_that_comes_with_a_base_is_part_of_what_it_is(setup: Path, tmp_path: Path) -> None:
    """Edited code of the same name gives another key; code in no file none at all, and the run goes on without."""
    made = prepare(settings(setup, tmp_path / "run"), torch.device("cpu"))
    told = (made.model, made.processor, {"weight": "0"}, Runtime())
    plain, keys = base_cache.base_key(*told), set()
    for text in ("", "# edited"):
        (tmp_path / "modeling.py").write_text(text)
        made.model.llm.__class__ = type("Own", (type(made.model.llm),), {"__module__": "own"})
        module = types.ModuleType("own")
        module.__file__ = str(tmp_path / "modeling.py")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "own", module)
            keys.add(base_cache.base_key(*told))
    assert len(keys | {plain}) == 3
    assert base_cache.open_base_cache(tmp_path, *told) is None
