"""One process of test_processes.py: `main(RANK, WORLD, FOLDER)` trains under DDP and under FSDP2."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from ranks import GLOO_AVERAGES
from recompose_models import tiny_llama, token_batches
from torch import Tensor, nn

import pairalign as pa

STRUCTURES = ("rows", "columns", "weights", "directions")
STEPS = 3


def build(structure: str) -> nn.Module:
    config = pa.DormantConfig(structure=structure, density=0.25, score="wanda")
    return pa.get_dormant_model(tiny_llama(), config, token_batches())


def trained(model: nn.Module, part: slice) -> dict[str, Tensor]:
    """Values after a few steps of AdamW, each on `part` of the batch, by name."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)
    for batch in token_batches(STEPS, seed=1):
        optimizer.zero_grad()
        logits = model(**{name: value[part] for name, value in batch.items()}).logits
        logits.square().mean().backward()
        optimizer.step()
    return {
        name.removeprefix("module."): p.full_tensor() if hasattr(p, "full_tensor") else p.detach()
        for name, p in model.named_parameters()
    }


def main(rank: int, world: int, folder: Path) -> int:
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    part = slice(rank * 4 // world, (rank + 1) * 4 // world)
    for structure in STRUCTURES:
        found = {"ddp": trained(nn.parallel.DistributedDataParallel(build(structure)), part)}
        for reshard in (True, False) if GLOO_AVERAGES else ():
            model = build(structure)
            for layer in model.base_model.model.layers:
                fully_shard(layer, reshard_after_forward=reshard)
            fully_shard(model)
            found[f"fsdp, reshard={reshard}"] = trained(model, part)
        if rank == 0:
            torch.save(found, folder / f"{structure}.pt")
    dist.destroy_process_group()
    return 0
