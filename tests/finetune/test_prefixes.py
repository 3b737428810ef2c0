"""Training on what stands behind the first signal alone gives what training on whole prompts gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import DORMANT, TOUCH, short_run
from torch import Tensor

from pairalign.finetune import module
from pairalign.finetune.collator import before_signal
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.tasks import Example
from pairalign.sensors import prefix
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes
from pairalign.sensors.prefix_disk import PrefixDisk

LONG = {**TOUCH, "prompt": "a soft object and a hard object with a smooth surface {touch} {question}"}


def run(setup: Path, out: Path, **changes: Any) -> RecomposeRun:
    train = {"steps": 4, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 0}
    given = {"tasks": {"touch": LONG}, "held_out": {}, "validation": {}, **changes}
    return short_run(setup, out, **{**given, "train": {**train, **changes.get("train", {})}})


def weights(done: RecomposeRun) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in done.model.named_parameters() if "updates" in name or "bridge" in name}


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches were cut, and whether what stands before was read (1) or kept (0)."""
    found: list[int] = []
    logits = Prefixes.logits

    def counted(self: Prefixes, *args: Any) -> Tensor | None:
        had = len(self.kept)
        made = logits(self, *args)
        if made is not None:
            found.append(len(self.kept) - had)
        return made

    monkeypatch.setattr(Prefixes, "logits", counted)
    return found


@pytest.mark.parametrize("method", ["dormant", "bridge"])
def test_weights_are_those_of_whole_prompts(
    setup: Path, tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    cut = weights(run(setup, tmp_path / "cut", method=method))
    assert len(cuts) == 5  # four steps, and the comparison at the start
    monkeypatch.setattr(StageTwo, "_still", lambda self, config: False)
    whole = weights(run(setup, tmp_path / "whole", method=method))
    assert len(cuts) == 5
    assert cut.keys() == whole.keys()
    assert all(torch.allclose(value, whole[name], atol=2e-4) for name, value in cut.items())


def test_what_is_kept_is_read_once(setup: Path, tmp_path: Path, cuts: list[int]) -> None:
    task = {"touch": {**LONG, "limit": 4}}
    kept = weights(run(setup, tmp_path / "kept", tasks=task, train={"prefix_memory": 0.1}))
    assert cuts[1:] == [1, 0, 0, 0]  # all of them say the same before the touch
    anew = weights(run(setup, tmp_path / "anew", tasks=task))
    assert all(torch.allclose(value, anew[name], atol=2e-4) for name, value in kept.items())


def test_what_memory_does_not_hold_is_kept_in_files_until_the_run_ends(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, told = {"touch": {**LONG, "limit": 4}}, dict[str, list[bool]]()
    load, keep = PrefixDisk.load, PrefixDisk.keep
    monkeypatch.setattr(PrefixDisk, "load", lambda self, key, device: spy("load", self, load(self, key, device)))
    monkeypatch.setattr(PrefixDisk, "keep", lambda self, key, row: spy("keep", self, keep(self, key, row)))

    def spy(what: str, disk: PrefixDisk, made: Any) -> Any:
        told.setdefault(what, []).append(any(disk.folder.glob("*.safetensors")))
        return made

    kept = weights(run(setup, tmp_path / "kept", tasks=task, train={"prefix_disk": 0.1}))
    assert told == {"keep": [True] * 4, "load": [True] * 3}  # one file, for all say the same before the touch
    assert not (tmp_path / "kept" / "prefixes").exists()
    anew = weights(run(setup, tmp_path / "anew", tasks=task))
    assert len(told["load"]) == 3
    assert all(torch.allclose(value, anew[name], atol=2e-4) for name, value in kept.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"dormant": {**DORMANT, "acts": "always"}},
        {"method": "full"},
        {"train": {"gradient_checkpointing": True}},
        {"tasks": {"touch": TOUCH}},
    ],
    ids=["acts always", "full", "checkpointing", "short"],
)
def test_other_runs_read_whole_prompts(setup: Path, tmp_path: Path, cuts: list[int], changes: dict[str, Any]) -> None:
    run(setup, tmp_path / "run", **changes)
    assert not cuts


def test_keeping_what_is_read_whole_is_said_to_keep_nothing(
    setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(setup, tmp_path / "run", dormant={**DORMANT, "acts": "always"}, train={"prefix_disk": 0.1, "steps": 1})
    assert "train.prefix_memory and train.prefix_disk keep nothing: prompts are read whole" in capsys.readouterr().err


def test_a_base_that_looks_ahead_is_read_whole(
    setup: Path, tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = SensorModel.forward

    def ahead(self: SensorModel, *args: Any, **inputs: Any) -> Any:
        out = plain(self, *args, **inputs)
        out.logits = out.logits + 0.5 * out.logits.mean(1, keepdim=True)
        return out

    monkeypatch.setattr(SensorModel, "forward", ahead)
    run(setup, tmp_path / "run")
    assert len(cuts) == 1
    assert "the base looks ahead in its prompts: they are read whole at every step" in capsys.readouterr().err


def test_it_is_compared_at_the_first_batch_that_is_cut(
    setup: Path, tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the first one of all, which may be of short prompts."""
    short, compared = iter([True, True]), []
    told, plain = module.agree, prefix.cut
    monkeypatch.setattr(prefix, "cut", lambda *args: None if next(short, False) else plain(*args))
    monkeypatch.setattr(module, "agree", lambda *both: compared.append(len(cuts)) or told(*both))
    run(setup, tmp_path / "run")
    assert compared == [1]  # before the second step, whose batch is cut and compared, and then read
    assert len(cuts) == 4


def test_what_stands_before_is_told_by_words_and_pixels() -> None:
    from PIL import Image

    def example(*parts: dict[str, Any]) -> str:
        return before_signal(Example("k", "k", list(parts), "a"), ("touch",))

    black, white = ({"type": "image", "image": Image.new("RGB", (4, 4), colour)} for colour in ("black", "white"))
    word, touch, other = {"type": "text", "text": "is it"}, {"type": "touch", "touch": 1}, {"type": "touch", "touch": 2}
    same = example(black, word, touch)
    assert same == example(black, word, other) == example(black, word, touch, white)
    different = [example(white, word, touch), example(word, black, touch), example(black, touch), example(touch)]
    assert len({same, *different}) == 5
    assert example(black, word) == ""
