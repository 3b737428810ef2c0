"""Stage two on two real gloo processes: what one process learns from twice the batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ranks import command_in_ranks
from safetensors.torch import load_file
from stage_two import settings, short_run, values

from pairalign.core.errors import CheckpointError
from pairalign.finetune.run import recompose_mllm


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
