"""Two real gloo processes must give the gradient that one process gives on the whole batch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from ranks import in_ranks

from pairalign.align.distributed import gather_rows, rank, world_size

WORKER = Path(__file__).with_name("gloo_worker.py")
WORLD = 2


def load_worker():
    spec = importlib.util.spec_from_file_location("gloo_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    codes, said = in_ranks(lambda rank: worker.main(rank, WORLD, folder), folder, WORLD)
    assert codes == [0] * WORLD, said
    return [torch.load(folder / f"{number}.pt") for number in range(WORLD)]


@pytest.mark.parametrize(("loss", "mode"), worker.CASES)
def test_gradients_averaged_by_ddp_are_those_of_one_process(ranks, loss, mode):
    expected = worker.gradients(worker.TwoTowers(loss, mode, gather=False), slice(None))
    assert float(expected["scale.log_scale"].abs()) > 1e-4, "a gradient of zero would prove nothing"
    for found in ranks:
        for name, value in expected.items():
            if name != "loss":
                torch.testing.assert_close(found["results"][loss, mode][name], value, rtol=1e-6, atol=1e-6)
    mean = torch.stack([found["results"][loss, mode]["loss"] for found in ranks]).mean()
    torch.testing.assert_close(mean, expected["loss"], rtol=1e-6, atol=1e-6)


def test_without_gathering_the_gradient_would_differ(ranks):
    """The negatives of the other process matter: the mean over two half batches is another loss."""
    halves = [worker.gradients(worker.TwoTowers("info_nce", "mask", False), part) for part in (slice(6), slice(6, 12))]
    gathered = ranks[0]["results"]["info_nce", "mask"]["left.weight"]
    assert float((torch.stack([half["left.weight"] for half in halves]).mean(0) - gathered).abs().max()) > 1e-3


def test_unequal_batches_are_refused_by_every_process(ranks):
    for found in ranks:
        assert "rank 0: [[3, 4, 4], [3, 4, 4]" in found["refusals"]["rows"]
        assert "rank 1: [[4, 4, 4], [4, 4, 4]" in found["refusals"]["rows"]
        assert "drop_last=True" in found["refusals"]["rows"]
        assert "ids on all processes" in found["refusals"]["ids"]


def test_one_process_needs_no_gathering():
    value = torch.ones(3, 2)
    assert world_size() == 1
    assert rank() == 0
    assert gather_rows(value, None) == (value, None)
