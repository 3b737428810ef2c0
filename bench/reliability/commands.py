"""What is killed: each verb on inputs of its own, small enough to run in a second, with a result in `out`.

Note:
    Every path in a command is absolute but `out`, so that the same words run in any folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

OUT = "out"
KEEP = "train.keep_checkpoint=true"  # to be compared, too
PLUGIN = Path(__file__).resolve().parents[2] / "tests" / "support" / "plain_vector.py"


@dataclass(frozen=True)
class Case:
    """One command. processes: of a run. files: whose writing a signal aims at. victims: whether one process alone is
    signalled, instead of the group. cold: started by `train.devices`, by a Python of its own. share: of the count.
    finished: what the same command says, with exit code 2, of a whole result: it was signalled after its last file."""

    name: str
    words: tuple[str, ...]
    files: tuple[str, ...]
    processes: int = 1
    victims: bool = False
    cold: bool = False
    share: float = 1.0
    finished: str = ""


def cases(work: Path) -> list[Case]:
    """Every command that is killed, on the inputs that `prepare` left in `work`."""
    return [*_packing(work), *_training(work), *_others(work)]


def _packing(work: Path) -> Iterator[Case]:
    pack = ("data", "pack", str(work / "manifest" / "m.jsonl"), OUT, "--shard-samples", "20", "--quiet")
    known = ("data", "convert", "touch-and-go", str(work / "recordings"), "-o", OUT, "--shard-samples", "4", "--quiet")
    for verb, words in (("pack", pack), ("convert", known)):
        files = ("train-", "index.json") if verb == "pack" else ("train-", "index.json", "conversion.json")
        two, done = (*words, "--workers", "2"), {"finished": "already holds a finished pack"}
        yield Case(f"{verb}, 1 process", words, files, **done)
        yield Case(f"{verb}, 2 processes", two, files, **done)
        yield Case(f"{verb}, 2 processes, one signalled", two, files, victims=True, share=0.5, **done)


def _training(work: Path) -> Iterator[Case]:
    files = {"align": ("last.ckpt", "model.safetensors"), "recompose": ("last.ckpt", "results.json")}
    for verb, written in files.items():
        for accumulate in (1, 2):
            words = (verb, str(work / f"{verb}.yaml"), f"out={OUT}", "--quiet", f"train.accumulate={accumulate}", KEEP)
            how = f"accumulate {accumulate}"
            loader = "data.workers=1" if verb == "align" else "train.workers=1"
            one = words if accumulate == 1 else (*words, loader)  # so that loader workers are killed, too
            yield Case(f"{verb}, 1 process, {how}", one, written)
            yield Case(f"{verb}, 2 processes, {how}", words, written, 2)
            yield Case(f"{verb}, 2 processes, one signalled, {how}", words, written, 2, victims=True, share=0.5)
        words = (verb, str(work / f"{verb}.yaml"), f"out={OUT}", "--quiet", "train.devices=2", KEEP)
        yield Case(f"{verb}, train.devices=2", words, written, cold=True, share=0.05)


def _others(work: Path) -> Iterator[Case]:
    """The verbs that measure and ship, as one row: fewer of each."""
    pairs, lessons = work / "pairs", work / "stage_two" / "lessons"
    shown = ("--calibration", str(lessons / "image"), "--prompt", "{image} {question}", "--count", "8")
    asked = ("--pairs", str(lessons / "touch"), "--split", "val", "--prompt", "{touch} {question}")
    asked += ("--reference", "{answer}")
    run, taught = str(work / "aligned" / OUT), str(work / "taught" / OUT)
    quiet = ("--quiet", "--device", "cpu")
    found = {
        "evaluate": (("evaluate", run, "--pairs", str(pairs / "a-b"), "--split", "val", "--out", OUT, *quiet), ""),
        "score": (("score", str(work / "stage_two" / "base"), *shown, "--out", f"{OUT}/scores", *quiet), "scores"),
        "describe": (("describe", taught, *asked, "--limit", "16", "--tokens", "3", "--out", OUT, *quiet), ""),
        "export": (("export", taught, OUT, "--device", "cpu"), OUT),
        "index": (("data", "index", str(work / "plain"), "-o", OUT, "--quiet"), "index.json"),
    }
    for verb, (words, file) in found.items():
        done = {"export": "holds something already", "index": "has an index already"}.get(verb, "")
        yield Case(f"{verb}, 1 process", tuple(words), (file,) if file else (), share=0.1, finished=done)


def prepare(work: Path) -> None:
    """Make every input in `work`, with two finished runs for the verbs that measure and ship, and note in `modules`
    what all that imported. Run in a fork: it computes."""
    from miniature import recordings
    from stage_two import make_setup, values

    from pairalign.cli.main import main

    lines = []
    for number in range(240):
        folder = work / "manifest"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", np.arange(2000, dtype=np.float32) + number)
        lines.append(json.dumps({"key": f"{number:05d}", "touch": f"{number}.npy", "text": f"sample {number}"}))
    (work / "manifest" / "m.jsonl").write_text("\n".join(lines))
    recordings(work / "recordings", 12, 4, (90, 120))
    _pairs(work / "pairs")
    make_setup(work / "stage_two")
    (work / "align.yaml").write_text(yaml.safe_dump(_align(work)))
    train = {"steps": 5, "checkpoint_every": 2, "validate_every": 3, "threads": 1}
    told = values(work / "stage_two", Path(OUT), max_forgetting=100.0)
    (work / "recompose.yaml").write_text(yaml.safe_dump(told | {"train": told["train"] | train}))
    for verb, folder in (("align", "aligned"), ("recompose", "taught")):
        if main([verb, str(work / f"{verb}.yaml"), f"out={work / folder / OUT}", "--quiet"]):
            raise SystemExit(f"{verb} failed")
    main(["data", "pack", str(work / "manifest" / "m.jsonl"), str(work / "plain"), "--shard-samples", "40", "--quiet"])
    (work / "plain" / "index.json").unlink()
    (work / "modules").write_text("\n".join(name for name in sorted(sys.modules) if name != "__main__"))


def _pairs(home: Path) -> None:
    """Vectors that share three of six numbers, for a–b and b–c."""
    from pairalign.data.pack import pack_pairs

    rng = np.random.default_rng(0)
    for ends in (("a", "b"), ("b", "c")):
        rows = []
        for number in range(128):
            shared, split = rng.normal(size=3), "train" if number < 96 else "val"
            sides = {end: np.concatenate([shared, rng.normal(size=3)]).astype(np.float32) for end in ends}
            rows.append({"key": f"{number:05d}", **sides, "split": split})
        units = {end: {"unit": "N"} for end in ends}
        pack_pairs(rows, home / "-".join(ends), units=units, shard_samples=40, progress=False)


def _align(work: Path) -> dict[str, Any]:
    return {
        "modalities": {end: {"encoder": "plain_vector"} for end in "ab"}
        | {"c": {"encoder": "plain_vector", "tune": "none"}},  # whose anchor cache is killed, too
        "edges": [{"between": ["a", "b"], "shards": "a-b"}, {"between": ["b", "c"], "shards": "b-c"}],
        "latent": {"shared": 8, "private": 4, "hidden": 32},
        "train": {"steps": 10, "batch_size": 8, "warmup": 2, "accelerator": "cpu", "threads": 1}
        | {"checkpoint_every": 3, "validate_every": 4},
        "data": {"root": str(work / "pairs"), "shuffle": 50},
        "plugins": [str(PLUGIN)],
    }
