"""Dormant training over two real gloo processes, under DDP and FSDP2, gives what one process gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dormant_worker import STRUCTURES, build, main, trained
from ranks import in_ranks
from recompose_models import tiny_llama

WORLD = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gloo")
    codes, said = in_ranks(lambda rank: main(rank, WORLD, folder), folder, WORLD)
    assert codes == [0] * WORLD, said
    return folder


@pytest.mark.parametrize("structure", STRUCTURES)
def test_two_processes_equal_one(ranks: Path, structure: str) -> None:
    wanted = trained(build(structure), slice(None))
    base = dict(tiny_llama().named_parameters())
    for way, found in torch.load(ranks / f"{structure}.pt", weights_only=True).items():
        assert found.keys() == wanted.keys(), way
        for name, value in found.items():
            if name.endswith(".values"):
                torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6, msg=f"{way}: {name}")
            elif way.startswith("fsdp"):
                assert value.equal(base[name.removeprefix("base_model.")]), (way, name)  # shards keep the base
