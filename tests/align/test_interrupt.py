"""A signalled run leaves a whole checkpoint, ends with 128 + n, and goes on to what an undisturbed run becomes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pairalign.align.run import align_pairs, read_metrics
from pairalign.align.task import StageOne
from pairalign.core.config import AlignConfig, load_config
from pairalign.processes.stopping import SIGNALS, Stopped

Settings = dict[str, Any]


def config(settings: Settings, out: Path, accumulate: int) -> AlignConfig:
    train = {**settings["train"], "validate_every": 3, "accumulate": accumulate}
    return load_config(AlignConfig, {**settings, "out": str(out), "train": train})


def interrupted(settings: AlignConfig, act: Callable[[], None], batch: int, error: type[BaseException]) -> Any:
    """Run until a batch whose training step does something first; return what was raised."""
    step = StageOne.training_step

    def acting(self: StageOne, held: Any, batch_idx: int) -> torch.Tensor:
        if self.batches == batch:
            act()
        return step(self, held, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageOne, "training_step", acting)
        with pytest.raises(error) as caught:
            align_pairs(settings, progress=False)
    return caught.value


def die() -> None:
    raise RuntimeError("killed")


@pytest.mark.parametrize(
    ("number", "accumulate"), [(signal.SIGTERM, 2), (signal.SIGUSR1, 1), (signal.SIGINT, 1)], ids=str
)
def test_killed_gone_on_signalled_and_gone_on_is_as_undisturbed(
    align_settings: Settings, tmp_path: Path, number: int, accumulate: int
) -> None:
    """The second start goes on from a periodic checkpoint, after step 8, and is signalled in its first batch."""
    before = [signal.getsignal(one) for one in SIGNALS]
    whole, cut = (config(align_settings, tmp_path / name, accumulate) for name in ("whole", "cut"))
    align_pairs(whole, progress=False)
    interrupted(cut, die, 9 * accumulate, RuntimeError)
    stopped = interrupted(cut, lambda: os.kill(os.getpid(), number), 8 * accumulate, Stopped)
    assert stopped.exit_code == 128 + number
    assert f"stopped by {signal.Signals(number).name}; {tmp_path / 'cut' / 'last.ckpt'} is kept" in str(stopped)
    align_pairs(cut, progress=False)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert [line["step"] for line in read_metrics(tmp_path / "cut") if "val/loss" in line] == [3, 6, 9, 12]
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_signal_before_training_ends_the_run_at_once(
    align_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairalign.align.run.check_edges", lambda *given: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM; no checkpoint was written yet") as caught:
        align_pairs(config(align_settings, tmp_path / "run", 1), progress=False)
    assert caught.value.exit_code == 143
