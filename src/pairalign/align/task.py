"""Stage one as a Lightning module: sums the edges' losses, steps AdamW, remembers where it was.

Note:
    An accumulated step is the mean of its batches, which all have as many pairs, and each compares its own alone: terms
    that are means over samples are those of a larger batch, the contrast is not. Random numbers of a batch (dropout,
    noise) are seeded from (seed, batch, rank) at its start, so a resumed run draws what the killed one would have
    drawn. Gates and temperatures learn ten times as fast as the networks and never decay: a gate has to cross its whole
    range in one run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pairalign.align.backward import EdgeByEdge
from pairalign.align.dataset import PairBatch, Place
from pairalign.align.model import PairAligner
from pairalign.align.sources import Pool, pools_of
from pairalign.align.sums import Sums
from pairalign.core.config import AlignConfig, to_dict
from pairalign.core.errors import DataError
from pairalign.data.graph import Edge, edge_name
from pairalign.runtime import Runtime
from pairalign.schedule import warmup_cosine

FAST = ("gates.", "scales.", "biases.")


class StageOne(L.LightningModule):
    """`aligner` and its optimization over batches {edge name: `PairBatch`}."""

    def __init__(self, aligner: PairAligner, config: AlignConfig, runtime: Runtime | None = None) -> None:
        super().__init__()
        self.aligner = aligner
        self.config = config
        self.runtime = runtime or Runtime()
        self.edges: dict[str, Edge] = {edge_name(edge.between): edge.between for edge in config.edges}
        self.pools = {pool.name: pool for pool in pools_of(config)}
        self.weights = {edge_name(edge.between): edge.weight for edge in config.edges}
        self.batches = 0
        self.seen: dict[str, int] = dict.fromkeys(self.edges, 0)
        self.bad: dict[str, dict[str, str]] = {name: {} for name in self.edges}  # of all processes
        self.met: dict[str, dict[str, str]] = {name: {} for name in self.edges}  # of this one, not yet told to others
        self.places: dict[str, dict[int, Place]] = {name: {} for name in self.edges}
        self.held = Sums()  # of a validation
        self.told = Sums()  # of an optimizer step
        for decoder in aligner.decoders.values():
            decoder.processes = self.runtime.world  # type: ignore[assignment]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.batches % self.config.train.accumulate == 0:
            self.told = Sums()
        torch.manual_seed(self.config.seed * 1_000_003 + self.batches * self.runtime.world + self.runtime.rank)

    def training_step(self, batch: Mapping[str, PairBatch], batch_idx: int) -> Tensor:
        """The weighted loss over all edges; tells every term of every edge."""
        self.batches += 1
        for pool, pairs in batch.items():
            for edge in self.pools[pool].edges:
                self.places[edge_name(edge)][pairs.place.worker] = pairs.place
        return self._loss(batch)

    def validation_step(self, batch: Mapping[str, PairBatch | None], batch_idx: int, dataloader_idx: int = 0) -> None:
        """The same terms on held-out pairs, also of each source of a pool; without gathering: some process may have no
        batch."""
        for pool, pairs in batch.items():
            if pairs is None:
                continue
            self._note(pool, pairs)
            for edge in self.pools[pool].edges:
                a, b = (pairs.sides[end] for end in edge)
                for term, value in self.aligner.edge_terms(edge, a, b).items():
                    self.held.add(f"val/{edge_name(edge)}/{term}", value, len(pairs.keys))
                    if len(self.pools[pool].sources) > 1:  # a validation batch is of one
                        source = self.pools[pool].sources[pairs.sources[0]].name
                        self.held.add(f"val/{edge_name(edge)}/{source}/{term}", value, len(pairs.keys))

    def on_validation_epoch_start(self) -> None:
        """Forget the last one; take the main process's running statistics, as DDP does in training."""
        self.held = Sums()
        if self.runtime.world > 1:
            for buffer in self.aligner.buffers():
                torch.distributed.broadcast(buffer, 0)

    def on_validation_epoch_end(self) -> None:
        """Log every term's mean over all held-out pairs of all processes, and their weighted sum."""
        self._check_bad()
        means = self.held.means(self.runtime)
        loss = 0.0
        for name, weight in self.weights.items():
            prefix = f"val/{name}/"
            found = {key.removeprefix(prefix): value for key, value in means.items() if key.startswith(prefix)}
            terms = {key: torch.tensor(value) for key, value in found.items() if "/" not in key}  # not a source's
            loss += weight * float(self.aligner.total(terms)) if terms else 0.0
        self.log_dict({**means, "val/loss": loss} if means else {}, logger=False)

    def _loss(self, batch: Mapping[str, PairBatch]) -> Tensor:
        work = EdgeByEdge(self.aligner, self._loss_scale())
        for name, pairs in batch.items():
            self._note(name, pairs)
            pool = self.pools[name]
            for edge, pooled, sides in work.encoded(pool.edges, pairs.sides):
                rows: list[Tensor] | None = [] if len(pool.sources) > 1 else None
                a, b = (sides[end] for end in edge)
                terms = self.aligner.pair_terms(edge, a, b, pooled, gather=self.runtime.world > 1, rows=rows)
                work.add(self.weights[edge_name(edge)] * self.aligner.total(terms))
                self._log_edge(edge, terms, rows, pairs, pool)
        self._check_bad()
        loss = work.total()
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss became {float(loss)} at step {self.global_step}: lower train.lr, or run `data audit`."
            )
        self.log("train/loss", loss.detach(), prog_bar=True, logger=False)
        self.told.add("train/loss", loss, 1)
        return loss

    def _loss_scale(self) -> float:
        """What the gradient scaler of 16-bit floats multiplies losses with, which gradients found here need, too."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def _log_edge(
        self, edge: Edge, terms: Mapping[str, Tensor], rows: list[Tensor] | None, pairs: PairBatch, pool: Pool
    ) -> None:
        """Every term, and of a pool the contrast of each source's samples in this batch."""
        name = edge_name(edge)
        for term, value in terms.items():
            self.told.add(f"train/{name}/{term}", value, len(pairs.keys))
        if rows:
            self._log_sources(name, rows[0], pairs.sources, pool)

    def _log_sources(self, name: str, rows: Tensor, sources: list[int], pool: Pool) -> None:
        of = torch.tensor(sources, device=rows.device)
        for number, source in enumerate(pool.sources):
            mine = rows[of == number]
            if len(mine):
                self.told.add(f"train/{name}/{source.name}/contrast", mine.mean(), len(mine))

    def _note(self, pool: str, pairs: PairBatch) -> None:
        for edge in self.pools[pool].edges:
            name = edge_name(edge)
            self.seen[name] += len(pairs.keys)
            self.met[name].update((key, reason) for key, reason in pairs.bad if key not in self.bad[name])

    def _check_bad(self) -> None:
        """Tell every process what damaged samples the others met, and compare them with `data.bad_fraction`; every
        process calls it. A sample that several met counts once."""
        new = sum(map(len, self.met.values()))
        *good, found = self.runtime.all_sum([*(self.seen[name] for name in self.edges), new])
        if found:
            self._share_bad()
        for name, seen in zip(self.edges, map(int, good), strict=True):
            bad = len(self.bad[name])
            if bad > self.config.data.bad_fraction * max(bad + seen, 100):
                key, reason = next(iter(self.bad[name].items()))
                raise DataError(
                    f"edge {name}: {bad} of {bad + seen} samples are damaged, more than data.bad_fraction="
                    f"{self.config.data.bad_fraction} allows. First: {key}: {reason}"
                )

    def _share_bad(self) -> None:
        found: dict[tuple[str, str], list[str]] = {}  # edges by key and reason
        for met in self.runtime.all_gather_object(self.met):
            for name in self.edges:
                for key, reason in met[name].items():
                    if key not in self.bad[name]:
                        self.bad[name][key] = reason
                        found.setdefault((key, reason), []).append(name)
        for (key, reason), names in found.items():
            if self.runtime.main:
                tqdm.write(f"damaged sample left out: {', '.join(names)} {key}: {reason}", file=sys.stderr)
        self.met = {name: {} for name in self.edges}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs: the configuration, batches seen, and the damaged keys."""
        places: dict[str, Any] = {n: [list(place) for place in by.values()] for n, by in self.places.items()}
        ranks = self.runtime.all_gather_object({"places": places, "seen": self.seen, "bad": self.bad})
        checkpoint["pairalign"] = {"config": to_dict(self.config), "batches": self.batches, "ranks": ranks}

    def resume(self, record: dict[str, Any]) -> None:
        """Go on counting where this process of a checkpoint stopped; `record` is what `on_save_checkpoint` wrote."""
        mine = record["ranks"][self.runtime.rank]
        self.batches, self.seen = record["batches"], mine["seen"]
        for rank in record["ranks"]:  # earlier versions kept each process's own
            for name, bad in rank["bad"].items():
                self.bad[name] = {**bad, **self.bad[name]}
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
