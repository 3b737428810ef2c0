"""One process of test_distributed.py: `main(RANK, WORLD, FOLDER)` saves the gradients left by DDP."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.align.contrastive import LogitScale, info_nce, sigmoid_loss
from pairalign.core.errors import ContrastiveError

ROWS = 12
CASES = [(loss, mode) for loss in ("info_nce", "sigmoid") for mode in ("mask", "positive", "keep")]


class TwoTowers(nn.Module):
    """Two linear towers, a temperature and a bias: everything that a contrastive loss trains."""

    def __init__(self, loss: str, mode: str, gather: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(6, 5), nn.Linear(7, 5)
        self.scale, self.bias = LogitScale(5.0), nn.Parameter(torch.tensor(-2.0))
        self.loss, self.mode, self.gather = loss, mode, gather

    def forward(self, x: Tensor, y: Tensor, ids_a: Tensor, ids_b: Tensor) -> Tensor:
        a, b = F.normalize(self.left(x), dim=1), F.normalize(self.right(y), dim=1)
        options = {"ids_a": ids_a, "ids_b": ids_b, "false_negatives": self.mode, "chunk": 4}
        if self.loss == "info_nce":
            return info_nce(a, b, self.scale(), **options, gather=self.gather) + 0 * self.bias
        return sigmoid_loss(a, b, self.scale(), self.bias, **options, gather=self.gather)


def batch() -> tuple[Tensor, ...]:
    """The whole batch; a process takes its part. Ids repeat within a part and across parts."""
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(ROWS, 6, generator=random), torch.randn(ROWS, 7, generator=random)
    return x, y, torch.arange(ROWS) % 7, torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 2])


def gradients(model: nn.Module, part: slice) -> dict[str, Tensor]:
    loss = model(*(value[part] for value in batch()))
    loss.backward()
    found = {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


def refusal(rank: int, **options: Tensor | None) -> str:
    """The message when processes bring different batches."""
    rows = len(options.pop("like")) if "like" in options else 3
    try:
        info_nce(torch.eye(4)[:rows], torch.eye(4)[:rows], 5.0, gather=True, **options)
    except ContrastiveError as error:
        return str(error)
    return ""


def main(rank: int, world: int, folder: Path) -> int:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=world)
    share = ROWS // world
    part = slice(rank * share, (rank + 1) * share)
    results = {}
    for loss, mode in CASES:
        model = nn.parallel.DistributedDataParallel(TwoTowers(loss, mode, gather=True))
        results[loss, mode] = gradients(model, part)
    refusals = {
        "rows": refusal(rank, like=torch.ones(3 + rank)),
        "ids": refusal(rank, ids_a=torch.arange(3) if rank else None),
    }
    torch.save({"results": results, "refusals": refusals}, folder / f"{rank}.pt")
    dist.destroy_process_group()
    return 0
