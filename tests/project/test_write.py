"""A project that `pairalign init` writes runs as it is written: every command in its README, word for word."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from reader import blocks, commands, lines

from pairalign.cli.main import main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.contract import check_encoder
from pairalign.core.errors import ConfigError
from pairalign.core.registry import create_encoder, load_plugin
from pairalign.finetune.config import RecomposeConfig
from pairalign.project.encoder import KINDS, PARTNERS
from pairalign.project.rows import FELT, OTHERS, abilities, recordings
from pairalign.project.write import start_project

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("kind", KINDS)
def test_its_parts_fit_each_other(kind: str, partner: str, tmp_path: Path) -> None:
    name, folder = f"my_{kind}_{partner}", tmp_path / "project"
    start_project(folder, name, kind=kind, partner=partner)
    align = load_config(AlignConfig, yaml.safe_load((folder / f"{name}.yaml").read_text()))
    teach = load_config(RecomposeConfig, yaml.safe_load((folder / "teach.yaml").read_text()))
    rows = [json.loads(line) for line in (folder / "recordings.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert {name, partner} == set(align.modalities) == set(align.edges[0].between)
    assert set(teach.sensors) == {name}
    fields = set(re.findall(r"{(\w+)}", teach.tasks["feel"].prompt + teach.tasks["feel"].answer))
    assert fields <= set(rows[0])
    assert align.train.batch_size <= sum(row["split"] == "train" for row in rows)
    load_plugin(folder / f"{name}.py")
    encoder = create_encoder(name)
    assert all(promise.kept for promise in check_encoder(encoder))
    if kind != "image":
        encoder.signal.check(torch.from_numpy(np.load(folder / rows[0][name])), "a row")


def test_the_same_seed_makes_the_same_rows_and_another_one_others(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        start_project(tmp_path / folder, "glove", seed=seed)
    one, same, other = (np.load(tmp_path / folder / "recordings" / "0003-glove.npy") for folder in "abc")
    assert (one == same).all()
    assert not np.allclose(one, other)


@pytest.mark.parametrize("kind", ["series", "vector"])
def test_what_was_felt_can_be_read_from_a_made_up_signal(kind: str, tmp_path: Path) -> None:
    """Nothing could be learned of noise: signals of one answer are nearer to each other than to others'."""
    rows = list(recordings(tmp_path, "glove", kind, "text", 200))
    hard = [row for row in rows if row["question"] == "how hard is it?"]
    peaks = [np.abs(np.load(tmp_path.parent / row["glove"])).max() for row in hard]
    mean = {
        word: np.mean([p for p, row in zip(peaks, hard, strict=True) if row["answer"] == word])
        for word in ("soft", "firm", "hard")
    }
    assert mean["soft"] < mean["firm"] < mean["hard"]


def test_it_asks_what_each_kind_can_tell(tmp_path: Path) -> None:
    asked = {row["question"] for row in recordings(tmp_path, "cloud", "points", "text", 4)}
    assert asked == {"what shape is it?", "how large is it?"}
    assert FELT["points"] != OTHERS
    assert {row["question"] for row in abilities(tmp_path, "image", 4)} >= {"what colour is it?"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "My-Glove"}, "lower-case Python identifier"),
        ({"name": "image"}, "have a column of that name"),
        ({"name": "glove", "kind": "smell"}, "kind 'smell': give one of series, image, points, vector"),
        ({"name": "glove", "partner": "sound"}, "partner 'sound': give one of image, text"),
        ({"name": "glove", "count": 9}, "rows is 9: give at least 10"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    given: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        start_project(tmp_path / "project", **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert main(["init", "glove", "--out", str(tmp_path)]) == 2
    assert "exists already: choose another folder with --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_encoder_in_readme_is_what_init_writes(tmp_path: Path) -> None:
    start_project(tmp_path / "glove", "glove")
    shown = blocks(ROOT / "README.md", "python")[0]
    assert shown.rstrip() == (tmp_path / "glove" / "glove.py").read_text().partition("\n\n")[2].rstrip()


def test_the_commands_of_a_project_are_those_of_readme(tmp_path: Path) -> None:
    """Which are run, word for word, in `tests/docs/test_ten_minutes.py`."""
    start_project(tmp_path / "glove", "glove")
    begin, *told = [words for line in lines(ROOT / "README.md", 1) for words in commands(line)][1:]
    test, *own = [words for line in lines(tmp_path / "glove" / "README.md") for words in commands(line)]
    assert (begin, test) == (["cd", "glove"], ["pytest"])
    assert [[word for word in words if word != "--synthetic"] for words in own[:-1]] == [
        words for words in told[:-1] if "--dry-run" not in words and "describe" not in words
    ]
    assert own[-1][:2] == told[-1][:2] == ["pairalign", "ask"]


def test_the_test_of_a_project_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_project(tmp_path / "glove", "glove")
    monkeypatch.chdir(tmp_path / "glove")
    tests = {name: test for name, test in runpy.run_path("test_glove.py").items() if name.startswith("test_")}
    assert tests
    for test in tests.values():
        test()
