"""Stage one as a Lightning module: sums the edges' losses, steps AdamW, remembers where it was.

Where it bites: random numbers of a step (dropout, noise) are seeded from (seed, batch, rank) at its start, so a
resumed run draws what the killed one would have drawn. Gates and temperatures learn ten times as fast as the networks
and never decay: a gate has to cross its whole range in one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from pairalign.align.feed import PairBatch, Place
from pairalign.align.model import PairAligner
from pairalign.core.config import AlignConfig, to_dict
from pairalign.core.errors import DataError
from pairalign.data.graph import Edge, edge_name
from pairalign.schedule import warmup_cosine

FAST = ("gates.", "scales.", "biases.")


class StageOne(L.LightningModule):
    """`aligner` and its optimization over batches {edge name: `PairBatch`}."""

    def __init__(self, aligner: PairAligner, config: AlignConfig) -> None:
        super().__init__()
        self.aligner = aligner
        self.config = config
        self.edges: dict[str, Edge] = {edge_name(edge.between): edge.between for edge in config.edges}
        self.weights = {edge_name(edge.between): edge.weight for edge in config.edges}
        self.batches = 0
        self.seen: dict[str, int] = dict.fromkeys(self.edges, 0)
        self.bad: dict[str, dict[str, str]] = {name: {} for name in self.edges}
        self.places: dict[str, dict[int, Place]] = {name: {} for name in self.edges}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(self.config.seed * 1_000_003 + self.batches * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: Mapping[str, PairBatch], batch_idx: int) -> Tensor:
        """The weighted loss over all edges; logs every term of every edge."""
        self.batches += 1
        for name, pairs in batch.items():
            self.places[name][pairs.place.worker] = pairs.place
        return self._loss(batch, "train")

    def validation_step(self, batch: Mapping[str, PairBatch | None], batch_idx: int, dataloader_idx: int = 0) -> None:
        """The same terms on held-out pairs, without gathering."""
        present = {name: pairs for name, pairs in batch.items() if pairs is not None}
        self._loss(present, "val")

    def _loss(self, batch: Mapping[str, PairBatch], stage: str) -> Tensor:
        losses = []
        for name, pairs in batch.items():
            self._count(name, pairs)
            gather = stage == "train" and self.trainer.world_size > 1
            terms = self.aligner.edge_terms(self.edges[name], pairs.a, pairs.b, gather=gather)
            self._log(stage, name, terms, len(pairs.keys))
            losses.append(self.weights[name] * self.aligner.total(terms))
        loss = torch.stack(losses).sum()
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss became {float(loss)} at step {self.global_step}: lower train.lr, or run `data audit`."
            )
        self._log(stage, "all", {"loss": loss}, 1)
        return loss

    def _log(self, stage: str, name: str, terms: Mapping[str, Tensor], size: int) -> None:
        for term, value in terms.items():
            show = name == "all" and stage == "train"
            self.log(
                f"{stage}/{name}/{term}" if name != "all" else f"{stage}/{term}",
                value.detach(),
                on_step=stage == "train",
                on_epoch=stage == "val",
                prog_bar=show,
                batch_size=size,
                sync_dist=stage == "val",
            )

    def _count(self, name: str, pairs: PairBatch) -> None:
        self.seen[name] += len(pairs.keys)
        bad = self.bad[name]
        for key, reason in pairs.bad:
            if key not in bad:
                self.print(f"damaged sample left out: {name} {key}: {reason}")
            bad[key] = reason
        seen = len(bad) + self.seen[name]
        if len(bad) > self.config.data.bad_fraction * max(seen, 100):
            key, reason = next(iter(bad.items()))
            raise DataError(
                f"edge {name}: {len(bad)} of {seen} samples are damaged, more than data.bad_fraction="
                f"{self.config.data.bad_fraction} allows. First: {key}: {reason}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs: the configuration, batches seen, and the damaged keys of every rank."""
        places: dict[str, Any] = {n: [list(place) for place in by.values()] for n, by in self.places.items()}
        ranks: list[Any] = [{"places": places, "seen": self.seen, "bad": self.bad}]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            mine = ranks[0]
            ranks = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        checkpoint["pairalign"] = {"config": to_dict(self.config), "batches": self.batches, "ranks": ranks}

    def resume(self, record: dict[str, Any], rank: int) -> None:
        """Go on counting where process `rank` of a checkpoint stopped; `record` is what `on_save_checkpoint` wrote."""
        mine = record["ranks"][rank]
        self.batches, self.seen, self.bad = record["batches"], mine["seen"], mine["bad"]
        self.places = {name: {p[0]: Place(*p) for p in places} for name, places in mine["places"].items()}

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up, cosine to 2 % of the rate."""
        train = self.config.train
        optimizer = torch.optim.AdamW(parameter_groups(self.aligner, train.lr, train.weight_decay))

        rate = partial(warmup_cosine, steps=train.steps, warmup=train.warmup)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def parameter_groups(aligner: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms and biases do not; gates and temperatures neither, and learn at ten times the rate."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    fast: list[nn.Parameter] = []
    for name, parameter in aligner.named_parameters():
        if parameter.requires_grad:
            (fast if name.startswith(FAST) else decay if parameter.ndim > 1 else plain).append(parameter)
    groups = [
        {"params": decay, "lr": lr, "weight_decay": weight_decay},
        {"params": plain, "lr": lr, "weight_decay": 0.0},
        {"params": fast, "lr": 10 * lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
