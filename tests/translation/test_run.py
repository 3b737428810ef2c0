"""Drawing from files: what is written for each way, where it came from, and what is refused before anything is made."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import drawn as world
import numpy as np
import pytest
import torch
from PIL import Image

import pairalign
from pairalign.align.run import AlignRun
from pairalign.cli.main import main
from pairalign.core.errors import ConfigError, DataError
from pairalign.translation.gallery import read_gallery
from pairalign.translation.run import translate
from pairalign.translation.samples import training_sources
from pairalign.translation.ways import find_decoder

ENDS: dict[str, Any] = {"source": "a", "target": "p", "progress": False}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A sensor's signal of a red and of a green picture."""
    for name, red, green in (("red", 1, -1), ("green", -1, 1)):
        np.save(tmp_path / f"{name}.npy", np.array([red, green, 0, 0, 0, 0], "float32"))
    return [str(tmp_path / "red.npy"), str(tmp_path / "green.npy")]


def brightest(path: Path) -> str:
    red, green, _ = np.asarray(Image.open(path)).mean((0, 1))
    return "red" if red > green else "green"


def test_what_the_sensor_knows_is_drawn_by_the_decoder_from_the_command_line(
    run: AlignRun, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["translate", str(run.folder), "--from", "a", "--to", "p", *files, "--out", str(out), "--quiet"]) == 0
    assert brightest(out / "000-red.png") == "red"
    assert brightest(out / "001-green.png") == "green"
    record = json.loads((out / "translation.json").read_text())
    assert record["gallery"] == {"samples": 300, "of": 300, "from": [f"{run.folder.parent / 'a-p'}, split 'train'"]}
    assert record["rest"] == "mean"
    assert record["path"] == ["a", "p"]
    assert Image.open(out / "translation.png").size[0] > 100
    printed = capsys.readouterr().out
    assert f"{files[0]} → {out / '000-red.png'}  nearest train-1-" in printed
    words = ["translate", str(run.folder), "--from", "a", "--to", "p", *files, "--out", str(tmp_path / "again")]
    assert main([*words, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == record["files"]


def test_retrieval_writes_the_nearest_stored_sample_as_it_is(run: AlignRun, files: list[str], tmp_path: Path) -> None:
    found = translate(run, files, through="retrieval", out=tmp_path / "out", among=run.folder.parent / "a-p", **ENDS)
    stored = {row["key"]: row for row in world.rows(300, "train", 1)}
    for line, path, colour in zip(found.record["files"], found.files, ("red", "green"), strict=True):
        near = stored[line["nearest"]["key"]]
        assert near["label"][colour] == "1"
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(near["p"]))


def test_a_pretrained_decoder_gets_the_frozen_towers_own_embedding(
    run: AlignRun, files: list[str], tmp_path: Path
) -> None:
    given = []

    class Mine:
        def draw(self, embedding: torch.Tensor) -> list[Any]:
            given.append(embedding)
            return [np.arange(6, dtype="float32") for _ in embedding]

    found = translate(run, files, source="a", target="f", through=Mine(), out=tmp_path / "out", progress=False)
    assert np.array_equal(np.load(found.files[0]), np.arange(6))
    true = read_gallery(run, "f", training_sources(run, "f")).pooled
    (embedding,) = given
    assert embedding.norm(dim=1) == pytest.approx(true.norm(dim=1).mean().item(), rel=1e-4)
    tower = run.aligner.encoder("f")
    with torch.no_grad():
        wanted = tower(torch.tensor([[1.0, -1, 0, 0, 0, 0], [-1, 1, 0, 0, 0, 0]])).pooled
    cosine = torch.nn.functional.normalize(embedding, dim=1) @ torch.nn.functional.normalize(wanted, dim=1).T
    assert bool((cosine.argmax(1) == torch.tensor([0, 1])).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "q"}, r"modality 'q' is not aligned"),
        ({"target": "a"}, r"from 'a' to 'a': give two different"),
        ({"target": "f"}, r"decoder of 'f' says features of a frozen tower, and draws no signal: use --through retri"),
        ({"through": "decodr"}, r"through='decodr'\. Did you mean 'decoder'"),
        ({"rest": "median"}, r"rest='median'"),
        ({"through": SimpleNamespace(draw=lambda embedding: [])}, r"'p' was trained, so its space is not the one"),
        ({"among": "nowhere"}, r"nowhere.*Give --among"),
    ],
)
def test_what_the_run_cannot_draw_is_refused_before_anything_is_written(
    run: AlignRun, files: list[str], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        translate(run, files, out=tmp_path / "out", **{**ENDS, **change})
    assert not (tmp_path / "out").exists()


def test_a_decoder_of_words_draws_nothing() -> None:
    decoder: Any = SimpleNamespace(decoders={"t": SimpleNamespace(kind="tokens")})
    with pytest.raises(ConfigError, match="which words, in no order"):
        find_decoder(decoder, "t")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "o"], "neither FILE nor --measure"),
        (["x.npy", "--measure", "--pairs", "p"], "FILE 'x.npy' and --measure"),
        (["x.npy"], "--out is missing"),
        (["--measure"], "--pairs is missing"),
        (["x.npy", "--out", "o", "--split", "val"], "--split goes with --measure"),
        (["x.npy", "--out", "o", "--pipeline", "karlo"], "--pipeline goes with --through diffusers"),
        (["x.npy", "--out", "o", "--through", "diffusers"], "needs --pipeline NAME"),
        (["--measure", "--pairs", "p", "--sees", "touch"], "write it as NAME=FACTOR,FACTOR"),
    ],
)
def test_the_command_line_says_what_goes_together(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["translate", "RUN", "--from", "a", "--to", "p", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_another_signal_is_one_line(run: AlignRun, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros(5, "float32"))
    with pytest.raises(DataError, match=r"short\.npy' is no 'a' of this run: .*shape \(5,\)"):
        pairalign.translate(run, [tmp_path / "short.npy"], out=tmp_path / "out", **ENDS)
