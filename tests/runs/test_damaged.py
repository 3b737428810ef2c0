"""Every file of a run cut in the middle, by one byte, and emptied, as a bad copy leaves it: a clear error, no harm."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import settings, short_run
from undisturbed import differences

from pairalign.align.metrics import read_metrics
from pairalign.align.modality import read_scales
from pairalign.align.run import align_pairs, load_aligned
from pairalign.align.task import StageOne
from pairalign.core.config import AlignConfig, load_config, to_dict
from pairalign.core.errors import CheckpointError, DeltaError, PairalignError
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import load_recomposed, recompose_mllm

CUTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte": lambda data: data[:-1],
}
Settings = dict[str, Any]


def damaged(run: Path, copy: Path, cuts: tuple[str, ...] = tuple(CUTS)) -> Iterator[tuple[str, Path]]:
    """Copies of a run, each with one file cut in one way."""
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        for how in cuts if path.stat().st_size else ():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(run, copy)
            (copy / name).write_bytes(CUTS[how](path.read_bytes()))
            yield f"{name} {how}", copy


def outcome(work: Callable[[], Any]) -> Any:
    """What came of it, or the clear error."""
    try:
        return work()
    except PairalignError as error:
        return error


def test_a_finished_alignment(align_settings: Settings, tmp_path: Path) -> None:
    align_settings["train"] |= {"steps": 4, "checkpoint_every": 2}
    align_settings["modalities"]["c"]["tune"] = "none"
    config = load_config(AlignConfig, align_settings)
    whole = align_pairs(config, progress=False)
    told, weights = to_dict(whole.config), whole.aligner.state_dict()
    refused = set()
    for which, copy in damaged(whole.folder, tmp_path / "copy"):
        for work in (lambda copy=copy: load_aligned(copy), lambda copy=copy: read_scales(copy)):
            found = outcome(work)
            if isinstance(found, PairalignError):
                refused.add(which)
            elif not isinstance(found, dict):
                assert to_dict(found.config) | {"out": "", "plugins": []} == told | {"out": "", "plugins": []}, which
                assert all(torch.equal(found.aligner.state_dict()[name], weights[name]) for name in weights), which
                assert outcome(lambda copy=copy: read_metrics(copy)) is not None
    half = {f"{name} {how}" for name in ("model.safetensors", "config.yaml") for how in ("empty", "half")}
    assert half | {"model.safetensors one byte", "identity.json half", "identity.json empty"} <= refused


def test_a_finished_stage_two(setup: Path, tmp_path: Path) -> None:
    whole = short_run(setup, tmp_path / "run", train={"steps": 1, "accelerator": "cpu"})
    weights = load_recomposed(whole.folder).model.state_dict()
    refused = set()
    for which, copy in damaged(whole.folder, tmp_path / "copy"):
        found = outcome(lambda copy=copy: load_recomposed(copy))
        if isinstance(found, PairalignError):
            assert isinstance(found, CheckpointError | DeltaError) or which.startswith("config.yaml"), (which, found)
            refused.add(which)
        else:
            assert found.results == whole.results, which
            assert all(torch.equal(found.model.state_dict()[name], weights[name]) for name in weights), which
    for name in ("bridge.safetensors", "results.json", "config.yaml", "dormant/dormant_model.safetensors"):
        assert {f"{name} empty", f"{name} half"} <= refused
    assert "bridge.safetensors one byte" in refused


def stop_at(kind: type, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break off in a batch, as a kill does, with the checkpoint before it on disk."""
    step = kind.training_step  # type: ignore[attr-defined]

    def breaking(self: Any, held: Any, batch_idx: int) -> torch.Tensor:
        if self.batches == batch:
            raise RuntimeError("killed")
        return step(self, held, batch_idx)

    monkeypatch.setattr(kind, "training_step", breaking)


def cut_and_gone_on(
    begun: Path, run: Path, whole: Path, go_on: Callable[[], Any], cuts: tuple[str, ...] = tuple(CUTS)
) -> dict[str, Any]:
    """What came of going on with each damaged copy of `begun` in the place of `run`."""
    found = {}
    for which, _ in damaged(begun, run, cuts):
        error = outcome(go_on)
        found[which] = error if isinstance(error, PairalignError) else differences(whole, run)
    return found


@pytest.mark.parametrize("cuts", [("half",), pytest.param(tuple(CUTS), marks=pytest.mark.slow)], ids=len)
def test_an_alignment_that_goes_on(
    align_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cuts: tuple[str, ...],
) -> None:
    align_settings["train"] |= {"steps": 6, "checkpoint_every": 3, "validate_every": 2}
    align_settings["modalities"]["c"]["tune"] = "none"
    config = load_config(AlignConfig, align_settings)
    whole = shutil.copytree(align_pairs(config, progress=False).folder, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(StageOne, 4, patch)
        with pytest.raises(RuntimeError, match="killed"):
            align_pairs(config, progress=False, fresh=True)
    begun = shutil.copytree(config.out, tmp_path / "begun")
    found = cut_and_gone_on(begun, Path(config.out), whole, lambda: align_pairs(config, progress=False), cuts)
    for which, what in found.items():
        if which in ("metrics.jsonl empty", "metrics.jsonl half"):  # lines are gone, and that is said
            assert all(line.startswith(("metrics.jsonl: ", "last.ckpt: .callbacks.MetricsLength")) for line in what), (
                what
            )
            assert read_metrics(config.out) is not None
        elif isinstance(what, PairalignError):
            assert which.split()[0] in ("last.ckpt", "identity.json") or which.startswith("cache/"), (which, what)
        else:
            assert what == [], which
    assert all(isinstance(found[f"last.ckpt {how}"], CheckpointError) for how in cuts)
    assert "bytes of its end" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stage_two_that_goes_on(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = {"steps": 4, "checkpoint_every": 2, "accelerator": "cpu", "batch_size": 8}
    config = settings(setup, tmp_path / "run", train=train)
    whole = shutil.copytree(recompose_mllm(config, progress=False).folder, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(StageTwo, 3, patch)
        with pytest.raises(RuntimeError, match="killed"):
            recompose_mllm(config, progress=False, fresh=True)
    begun = shutil.copytree(config.out, tmp_path / "begun")
    found = cut_and_gone_on(begun, Path(config.out), whole, lambda: recompose_mllm(config, progress=False))
    for which, what in found.items():
        if isinstance(what, PairalignError):
            assert which.split()[0] in ("last.ckpt", "identity.json") or which.startswith("chosen/"), (which, what)
        elif not which.startswith("metrics.jsonl"):
            assert what == [], which
    assert all(isinstance(found[f"last.ckpt {how}"], CheckpointError) for how in CUTS)
