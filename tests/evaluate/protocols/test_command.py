"""A real run, really trained, measured by a protocol through the command line, against loops over its own latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pairalign.align.run import AlignRun, align_pairs, load_aligned
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import PairalignError
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples

WORDS = ("soft", "rough", "woven", "hard")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AlignRun:
    """Touch, image and text, trained for a few steps on pairs like TVL's, and a folder of them to test on."""
    from conftest import TinyVector
    from pairalign.core import registry

    home = tmp_path_factory.mktemp("protocols")
    draw, rows = np.random.default_rng(0), []
    for i in range(90):
        kinds = draw.permutation(4)[: 1 + i % 3]
        force = [np.r_[np.isin(range(4), kinds), draw.normal(size=2)].astype(np.float32) for _ in range(2)]
        row = {"key": f"s{i:03d}", "touch": force[0], "image": force[1], "text": ", ".join(WORDS[k] for k in kinds)}
        rows.append({**row, "split": "test" if i > 59 else "train", "label": WORDS[kinds[0]], "group": f"g{i // 6}"})
    units = {name: {"unit": "N"} for name in ("touch", "image")}
    pack_pairs(rows, home / "pairs", modalities=["touch", "image", "text"], units=units, progress=False)
    config = {
        "modalities": {
            "touch": {"encoder": "tiny_vector"},
            "image": {"encoder": "tiny_vector"},
            "text": {"encoder": "openclip_text", "options": {"config": "tiny"}},
        },
        "edges": [
            {"between": ["touch", "image"], "shards": "pairs"},
            {"between": ["touch", "text"], "shards": "pairs"},
        ],
        "out": str(home / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 32},
        "train": {"steps": 40, "batch_size": 20, "lr": 5e-3, "warmup": 2, "accelerator": "cpu"},
        "data": {"root": str(home), "val_split": None},
    }
    registry._registered["tiny_vector"] = TinyVector
    return align_pairs(load_config(AlignConfig, config), progress=False)


@torch.no_grad()
def one_by_one(run: AlignRun, pairs: Path) -> tuple[dict[str, list[Tensor]], list[Tensor]]:
    """Shared latents by modality, a sample at a time, and the text tower's own unit features."""
    shared: dict[str, list[Tensor]] = {"touch": [], "image": [], "text": []}
    tower = []
    for sample in read_samples(pairs, "test", ["touch", "image", "text"]):
        words = sample.values["text"].split(", ")
        caption = words[0] + "." if len(words) == 1 else ", ".join(words[:-1]) + ", and " + words[-1] + "."
        for name in shared:
            raw = caption if name == "text" else sample.values[name]
            value = run.aligner.encoder(name).preprocess(raw)[None]
            shared[name].append(run.aligner.encode(name, value).shared[0].double())
        text = run.aligner.encoder("text")
        pooled = text(text.preprocess(caption)[None]).pooled[0].double()
        tower.append(pooled / pooled.norm())
    return shared, tower


def slow(run: AlignRun, shared: dict[str, list[Tensor]], right: list[list[bool]], a: str, b: str) -> float:
    """Top-1 from a to b, cosine by cosine."""
    gate, hits = run.aligner.path_gate(a, b).detach().double(), 0
    for i, query in enumerate(shared[a]):
        cosines = [float(torch.cosine_similarity(gate * query, gate * target, dim=0)) for target in shared[b]]
        hits += right[i][max(range(len(cosines)), key=cosines.__getitem__)]
    return hits / len(shared[a])


def test_a_trained_run_is_measured_through_the_command_line(
    trained: AlignRun, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = trained.folder.parent / "pairs"
    command = ["evaluate", str(trained.folder), "--pairs", str(pairs), "--quiet", "--protocol"]
    assert main([*command, "tvl", "--set", "tau=0.97", "--set", "captions=whole"]) == 0
    printed = capsys.readouterr().out
    assert "touch – text" in printed
    assert f"result: {trained.folder / 'evaluation' / 'tvl.json'}" in printed
    written = json.loads((trained.folder / "evaluation" / "tvl.json").read_text())
    scores = {(m["name"], m["metric"]): m["score"] for m in written["scores"]}

    shared, tower = one_by_one(load_aligned(trained.folder), pairs)
    near = [[float(x @ y) > 0.97 for y in tower] for x in tower]
    assert 30 < sum(map(sum, near)) < 900
    same = [[i == j for j in range(30)] for i in range(30)]
    for (a, b), right, metric in (
        (("touch", "text"), near, "top-1 at τ 0.970"),
        (("touch", "image"), same, "top-1"),
        (("image", "text"), near, "top-1 at τ 0.970"),
    ):
        both = [slow(trained, shared, right, *ends) for ends in ((a, b), (b, a))]
        assert scores[(f"{a} → {b}", metric)]["value"] == pytest.approx(both[0], abs=1e-9)
        assert scores[(f"{a} – {b}", metric)]["value"] == pytest.approx(sum(both) / 2, abs=1e-9)
        assert scores[(f"{a} – {b}", metric)]["clusters"] == 5
    touch = scores[("touch – image", "top-1")]
    assert touch["low"] <= touch["value"] <= touch["high"]
    assert touch["value"] > touch["chance"] == pytest.approx(1 / 30)
    assert written["scores"][0]["overlap"] == {"trained_on": ["train"], "samples": 0, "groups": 0}
    first = (trained.folder / "evaluation" / "tvl.json").read_bytes()
    assert main([*command, "tvl", "--set", "tau=0.97", "--set", "captions=whole"]) == 0
    assert (trained.folder / "evaluation" / "tvl.json").read_bytes() == first  # same seed, same figures


def test_mistakes_are_one_clean_line(trained: AlignRun, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pairs = trained.folder.parent / "pairs"
    command = ["evaluate", str(trained.folder), "--pairs", str(pairs), "--quiet"]
    for words, part in (
        (["--protocol", "tlv"], "protocol 'tlv' is unknown. Did you mean 'tvl'"),
        (["--protocol", "tvl", "--set", "tau"], "--set 'tau': write it as NAME=VALUE."),
        (["--protocol", "tvl", "--set", "tau=[1"], "is no YAML value"),
        (["--protocol", "tvl", "--class", "soft"], "--class does not go with --protocol"),
        (["--protocol", "tvl", "--pairs", "x"], "measures one shard folder"),
        (["--protocol", "tvl", "--split", "tset"], "Did you mean 'test'"),
        (["--set", "tau=1"], "name one with --protocol"),
        (["--protocol", "modelnet40"], "one modality of kind 'points'"),
        (["--protocol", "touch-and-go"], "label none of material, hardness, roughness"),
        (["--protocol", "cross-sensor"], "needs two sensors"),
    ):
        assert main([*command, *words]) == 2
        printed = capsys.readouterr().err.removeprefix("device: cpu\n")
        assert part in printed
        assert printed.count("\n") == 1
    assert main([*command, "--protocol", "tvl", "--split", "train", "--limit", "10", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "tvl.json").read_text())
    assert written["n"] == {"train": 10}
    assert "only the first 10 samples of train." in written["differs"]
    assert "leakage: 10 of the 10 samples of train were trained on (train)." in capsys.readouterr().out


def test_the_file_stays_whole_when_writing_fails(
    trained: AlignRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairalign.evaluate.protocols.run import evaluate_protocol

    measure: Callable[..., Any] = evaluate_protocol
    pairs = trained.folder.parent / "pairs"
    before = measure(trained, pairs, "tvl", out=tmp_path, progress=False).path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises((OSError, PairalignError)):
        measure(trained, pairs, "tvl", settings={"tau": 0.1}, out=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["tvl.json"]
    assert (tmp_path / "tvl.json").read_bytes() == before
