"""Stage two on two real gloo processes: what one process learns from twice the batch."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from ranks import command_in_ranks, in_ranks
from safetensors.torch import load_file
from stage_two import TOUCH, settings, short_run, values

from pairalign.cli.main import main
from pairalign.core.errors import CheckpointError
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import recompose_mllm
from pairalign.sensors import prefix
from pairalign.sensors.prefix_disk import PrefixDisk


@pytest.mark.slow
@pytest.mark.parametrize(("size", "accumulate"), [(4, 1), (2, 2)])
def test_two_processes_teach_what_one_does_with_the_whole_batch(
    setup: Path, tmp_path: Path, size: int, accumulate: int
) -> None:
    def train(size: int, accumulate: int = 1) -> dict[str, object]:
        fixed = {"steps": 5, "warmup": 1, "accelerator": "cpu", "validate_every": 3, "checkpoint_every": 2}
        fixed |= {"lr": 3e-4, "bridge_lr": 3e-4}
        return {**fixed, "batch_size": size, "accumulate": accumulate, "measure_tokens": 4}

    path = tmp_path / "config.json"
    both = {**train(size, accumulate), "workers": 1}
    path.write_text(json.dumps(values(setup, tmp_path / "two", train=both)))
    codes, said = command_in_ranks(["recompose", str(path), "--quiet"], tmp_path)
    assert codes == [0, 0], said
    assert said.count("run: ") == 1  # one process prints
    assert "Traceback" not in said

    one = short_run(setup, tmp_path / "one", train=train(8))
    for path in (tmp_path / "one").rglob("*.safetensors"):
        mine, theirs = load_file(path), load_file(tmp_path / "two" / path.relative_to(tmp_path / "one"))
        assert max(float((mine[key].float() - theirs[key].float()).abs().max()) for key in mine) < 1e-6
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["learning"]["points"] == one.results["learning"]["points"]
    lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "two")]
    for first, second in zip(*([json.loads(line) for line in told] for told in lines), strict=True):
        assert first.keys() == second.keys()
        assert all(abs(first[name] - second[name]) < 1e-4 for name in first), (first, second)

    (tmp_path / "two" / "results.json").unlink()
    with pytest.raises(CheckpointError, match="was written by 2 processes, now there are 1"):
        recompose_mllm(settings(setup, tmp_path / "two", train=train(size, accumulate)))


@pytest.mark.slow
def test_killed_processes_go_on_with_what_they_kept_on_disk(setup: Path, tmp_path: Path) -> None:
    train = {"steps": 6, "warmup": 1, "accelerator": "cpu", "checkpoint_every": 2, "lr": 3e-4, "bridge_lr": 3e-4}
    prompt = "a soft object and a hard object with a smooth surface {touch} {question}"
    given = {"tasks": {"touch": {**TOUCH, "prompt": prompt, "limit": 8}}, "held_out": {}, "validation": {}}
    path, folder = tmp_path / "config.json", tmp_path / "two" / "prefixes"
    path.write_text(
        json.dumps(values(setup, tmp_path / "two", **given, train={**train, "batch_size": 4, "prefix_disk": 0.1}))
    )

    def killed(rank: int) -> int:
        step = StageTwo.training_step

        def dies(self: StageTwo, *args: Any) -> Any:
            if self.global_step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, *args)

        StageTwo.training_step = dies  # type: ignore[method-assign]
        return main(["recompose", str(path), "--quiet"])

    codes, said = in_ranks(killed, tmp_path)
    assert -signal.SIGKILL in codes, said
    assert (tmp_path / "two" / "last.ckpt").exists(), said
    assert len(list(folder.glob("*.safetensors"))) == 1  # all say the same before the touch

    def watched(rank: int) -> int:
        found = {"kept": 0, "read": 0}
        load, read = PrefixDisk.load, prefix.read_before

        def loaded(self: PrefixDisk, *args: Any) -> Any:
            row = load(self, *args)
            found["kept"] += row is not None
            return row

        def anew(*args: Any) -> Any:
            found["read"] += 1
            return read(*args)

        PrefixDisk.load, prefix.read_before = loaded, anew  # type: ignore[method-assign]
        code = main(["recompose", str(path), "--quiet"])
        (tmp_path / f"found-{rank}").write_text(json.dumps(found))
        return code

    codes, said = in_ranks(watched, tmp_path)
    assert codes == [0, 0], said
    assert "damaged" not in said
    for rank in (0, 1):
        found = json.loads((tmp_path / f"found-{rank}").read_text())
        assert found == {"kept": 4, "read": 1}, found  # the one that compares cut prompts with whole ones
    assert not folder.exists()

    short_run(setup, tmp_path / "one", **given, train={**train, "batch_size": 8})
    for one in (tmp_path / "one").rglob("*.safetensors"):
        mine, theirs = load_file(one), load_file(tmp_path / "two" / one.relative_to(tmp_path / "one"))
        assert max(float((mine[key].float() - theirs[key].float()).abs().max()) for key in mine) < 1e-5


@pytest.mark.slow
def test_a_torch_that_adds_gradients_up_where_their_mean_is_wanted_is_refused(setup: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    train = {"steps": 1, "batch_size": 4, "accelerator": "cpu", "strategy": "fsdp2"}
    path.write_text(json.dumps(values(setup, tmp_path / "two", train=train)))

    def adding(rank: int) -> int:
        name = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"
        reduce = getattr(dist, name)
        setattr(dist, name, lambda out, given, op, group: reduce(out, given, dist.ReduceOp.SUM, group))
        return main(["recompose", str(path), "--quiet"])

    codes, said = in_ranks(adding, tmp_path)
    assert codes == [2, 2], said
    assert "train.strategy='fsdp2': torch" in said
    assert "adds gradients up over gloo" in said
    assert not (tmp_path / "two" / "results.json").exists()
