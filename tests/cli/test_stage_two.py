"""`pairalign score`, `recompose`, `export` and `ask`, as a user types them."""

from __future__ import annotations

import csv
import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stage_two import make_setup, values

from pairalign.cli.main import main
from pairalign.data.shards import read_samples
from pairalign.data.world import World
from pairalign.demo.base import build_tokenizer
from pairalign.dormant.significance import load_scores


@pytest.fixture(autouse=True)
def where_the_base_is(setup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack names its base's folder and not the way to it."""
    monkeypatch.chdir(setup)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")


@pytest.fixture(scope="module")
def work(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    told = values(setup, folder / "run")
    told["train"] |= {"measure_with_signals": True}
    told["log"] = ["csv"]
    (folder / "stage_two.yaml").write_text(yaml.safe_dump(told))
    sample = World(seed=9).sample(0, None, ("touch", "image"))
    sample["touch"].save(folder / "touch.png")
    sample["image"].save(folder / "image.png")
    return folder


@pytest.fixture(scope="module")
def pack(work: Path) -> Path:
    assert main(["recompose", str(work / "stage_two.yaml"), "--quiet"]) == 0
    with redirect_stdout(StringIO()) as said:
        assert main(["export", str(work / "run"), str(work / "pack"), "--merge", "--json"]) == 0
    sizes = json.loads(said.getvalue())["bytes"][str(work / "pack")]
    assert sizes["manifest.json"] == (work / "pack" / "manifest.json").stat().st_size
    return work / "pack"


def test_a_dry_run_prints_the_plan_and_writes_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = work / "never"
    words = ["recompose", str(work / "stage_two.yaml"), "--dry-run", f"out={out}", "dormant.density=0.5"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for part in (
        "down_proj",
        "0.5000",
        "delta",
        "tokens of a sample: ",
        "touch 17",
        "memory at the peak",
        "time: 0 min ",
    ):
        assert part in printed
    assert len(printed.splitlines()) <= 25
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["layers"]) == 14
    assert sum(layer["trained"] for layer in record["layers"]) == sum(record["trained"].values())
    assert not out.exists()


def test_train_export_ask(work: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (pack / "manifest.json").is_file()
    assert (pack / "merged" / "config.json").is_file()
    capsys.readouterr()
    touch, image = str(work / "touch.png"), str(work / "image.png")
    words = ["ask", str(pack), "--image", image, "--touch", touch, "--tokens", "4", "is it soft?"]
    assert main(words) == 0
    said = capsys.readouterr().out.strip()
    assert main([*words, "--json", "--quiet"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["answer"] or "", told.err) == (said, "")
    assert main(["ask", str(pack), f"--touch={touch}", "--touch", touch, "is {touch} softer than {touch}?"]) == 0


def test_the_run_says_what_was_learned_and_forgotten(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recompose", str(work / "stage_two.yaml"), "--quiet", f"out={work / 'said'}"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "validation/touch",
        "held_out/image",
        "(n 24)",
        "learning",
        "forgetting",
        "report: ",
        "next: pairalign export",
    ):
        assert words in printed
    assert "Every kind of question" in (work / "said" / "report.html").read_text()


def test_results_may_be_read_by_a_program(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recompose", str(work / "stage_two.yaml"), "--quiet", f"out={work / 'said'}", "--json"]
    assert main(words) in (0, 4)
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == str(work / "said")
    assert said["after"] == json.loads((work / "said" / "results.json").read_text())["after"]
    lines = [json.loads(line) for line in (work / "said" / "metrics.jsonl").read_text().splitlines()]
    with (work / "said" / "logs" / "csv" / "metrics.csv").open() as file:
        table = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    numbers = [{name: v for name, v in line.items() if isinstance(v, int | float)} for line in lines]
    assert table == [pytest.approx(line) for line in numbers]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--smell", "a.npy", "what?"], "--smell a.npy: the pack does not know this sensor. Known: touch"),
        (["--touch", "nowhere.png", "what?"], "file 'nowhere.png' does not exist"),
        (["what does {touch} feel like?"], "has more {touch} than were given"),
        (["what does <image> mean?"], "spells '<image>', which the base reads as a picture"),
    ],
)
def test_asking_wrongly_is_one_clean_line(
    pack: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", str(pack), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_scores_go_into_a_file_and_from_there_into_a_run(
    setup: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shards = work / "scores.safetensors", str(setup / "lessons" / "image")
    words = ["score", str(setup / "base"), "--method", "splash", "--calibration", shards, "--count", "16", "--quiet"]
    assert main([*words, "--prompt", "{image} {question}", "--out", str(out)]) == 0
    assert "14 layers, 26,624 weights" in capsys.readouterr().out
    assert main([*words, "--prompt", "{image} {question}", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["layers"], record["weights"], record["scores"]) == (14, 26_624, str(out))
    scores = load_scores(out)
    assert len(scores) == 14
    assert main(["recompose", str(work / "stage_two.yaml"), "--quiet", f"out={work / 'scored'}", f"scores={out}"]) == 0
    keys = [sample.key for sample in read_samples(shards, "train", ["question"])][:16]
    record = json.loads((work / "scored" / "dormant" / "dormant_config.json").read_text())["origin"]
    (samples,) = record["calibration"]["samples"]
    assert (samples["keys"], samples["prompt"], samples["shards"]) == (keys, "{image} {question}", shards)
    assert (record["scores"]["method"], record["scores"]["seed"]) == ("splash", 0)


def test_dowser_needs_no_calibration(setup: Path, work: Path) -> None:
    out = work / "dowser.safetensors"
    options = ["--option", "prompts=4", "--option", "length=8", "--option", "probes=2"]
    assert main(["score", str(setup / "base"), "--method", "dowser", *options, "--out", str(out), "--quiet"]) == 0
    assert load_scores(out).about["calibration"]["batches"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "splish"], "score='splish'. Did you mean 'splash'"),
        (["--method", "wanda"], "calibration"),
        (["--method", "magnitude", "--option", "seed"], "--option 'seed': write it as NAME=VALUE"),
    ],
)
def test_scoring_wrongly_is_one_clean_line(
    setup: Path, work: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(setup / "base"), *words, "--out", str(work / "no.safetensors"), "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (work / "no.safetensors").exists()


def test_a_lost_gate_is_an_exit_code(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recompose", str(work / "stage_two.yaml"), "--quiet", f"out={work / 'gated'}", "--max-forgetting", "-1"]
    assert main(words) == 2
    assert "max_forgetting is -1.0: give a number of at least 0" in capsys.readouterr().err


def test_a_base_without_words_answers_nothing_aloud(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import LlavaForConditionalGeneration

    def mute(self: Any, input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        unknown = build_tokenizer().unk_token_id
        return torch.cat([input_ids, torch.full((1, 2), unknown)], 1)

    monkeypatch.setattr(LlavaForConditionalGeneration, "generate", mute)
    assert main(["ask", str(pack), "is it soft?"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == ""
    assert "the answer is 2 unknown tokens and no word" in said.err
