"""Stage two as a Lightning module: answers are learned by the bridge and by what the method lets train.

The gradient of an optimizer step is that of the mean over all answer tokens of all its batches in all processes, as of
one larger batch: a batch's mean counts by its share of these tokens, and a method's penalty with it. What is held
to the base beside it is a mean over answer tokens of its own, in the same way.

Note:
    A checkpoint holds what trains and nothing of the base, so it needs the same base to resume.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from pairalign.align.sums import Sums
from pairalign.core.config import to_dict
from pairalign.core.errors import DataError
from pairalign.core.notice import notice
from pairalign.finetune.collator import Batch, Part
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.distil import base_says, divergence
from pairalign.finetune.measure import answer_logits, answer_loss
from pairalign.finetune.methods import Method
from pairalign.finetune.prefixes import reads_apart
from pairalign.finetune.rehearse import drift
from pairalign.masters import build_adamw
from pairalign.runtime import Runtime
from pairalign.schedule import warmup_cosine
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes, agree
from pairalign.sensors.prefix_disk import PrefixDisk
from pairalign.sensors.sensor import Sensor
from pairalign.sensors.vision import VisionMemory, check_still
from pairalign.sharding import average_gradients, clip_gradients, whole


class StageTwo(L.LightningModule):
    """`model` and its optimization over `Batch`es."""

    def __init__(
        self,
        model: SensorModel,
        method: Method,
        config: RecomposeConfig,
        runtime: Runtime | None = None,
        disk: PrefixDisk | None = None,
    ) -> None:
        super().__init__()
        self.model, self.method, self.config, self.runtime = model, method, config, runtime or Runtime()
        self.strict_loading = False
        self.batches = 0
        self.keys: tuple[str, ...] = ()
        self.told = Sums()  # of an optimizer step
        self.tokens = self.held = 0.0  # answer tokens of an optimizer step in all processes: taught, and rehearsed
        self.shared = any(isinstance(p, DTensor) for p in model.parameters())
        self.prefixes = Prefixes(config.train.prefix_memory, disk) if self._still(config) else None
        self.compared = False
        self.vision = VisionMemory(config.train.vision_memory) if config.train.vision_memory else None
        if self.vision is not None:
            check_still(model.llm)

    def _seeing(self) -> AbstractContextManager[None]:
        """Within it the base is asked of each picture once."""
        return nullcontext() if self.vision is None else self.vision.reading(self.model.llm)

    def _still(self, config: RecomposeConfig) -> bool:
        """Whether a prompt's tokens before its first signal are read apart."""
        return reads_apart(config) and not self.shared

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.prefixes is not None and not self.compared:
            self._compare(batch)
        torch.manual_seed(self.config.seed * 1_000_003 + self.batches * self.runtime.world + self.runtime.rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of the answers and the method's penalty."""
        self.batches += 1
        held = batch.rehearsed_tokens
        part = batch.part or Part(batch.tokens, batch.tokens, True, held, held)
        if part.first:
            self.told, (self.tokens, self.held) = Sums(), self.runtime.all_sum([part.all, part.all_rehearsed])
        loss, penalty = self.losses(batch)
        self.log("train/loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch.keys))
        self.told.add("train/loss", loss, part.tokens)
        if penalty is not None:
            self.told.add("train/penalty", penalty, part.tokens)
            loss = loss + penalty
        loss = loss * (part.tokens / self.tokens)
        distance = self.rehearse(batch)
        if distance is not None:
            self.told.add("train/rehearse", distance, part.rehearsed)
            loss = loss + self.config.train.rehearse.weight * distance * (part.rehearsed / self.held)
        self.keys = batch.keys
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss became {float(loss.detach())}")
        return loss * (self.runtime.world * self.config.train.accumulate)  # DDP averages processes, Lightning batches

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Cross entropy of a batch's answers, and the method's penalty where it has one, each a mean over the batch."""
        with self._seeing():
            logits, labels = answer_logits(self.model, batch, prefixes=self.prefixes)
        penalty = self.method.penalty(self.model, batch, logits, labels)
        distil = self.config.train.distil
        if distil.weight:
            with self._seeing(), self.method.base_beside(self.model.llm) as base:
                said = base_says(self.model, batch, base)
            held = distil.weight * distil.temperature**2 * divergence(said, logits, labels, distil.temperature)
            penalty = held if penalty is None else penalty + held
        return answer_loss(logits, labels), penalty

    def rehearse(self, batch: Batch) -> Tensor | None:
        """How far the model is from the base where it is held to it, a mean over the batch's answer tokens there.

        Of weights in parts all processes take every pass together: one with nothing to rehearse reads its own prompts
        meanwhile, which count for nothing."""
        here = batch.rehearsed is not None
        if self.shared and self.config.train.rehearse.share:
            here = self.runtime.all_sum([float(here)])[0] > 0
        if not here:
            return None
        shown, asked = batch.rehearsed or (batch, batch)
        with self._seeing():
            with torch.no_grad(), self.method.base_beside(self.model.llm) as base:
                said, _ = answer_logits(self.model, asked, base)
            logits, labels = answer_logits(self.model, shown, prefixes=self.prefixes)
        return drift(said, logits, labels)

    @torch.no_grad()
    def _compare(self, batch: Batch) -> None:
        """See once that prompts cut at their first signal are answered as whole ones; else read them whole."""
        cut = Prefixes().logits(self.model, batch.inputs, batch.columns + 1)
        if cut is None:
            return  # of a batch that is read whole, nothing can be said
        self.compared = True
        whole, _ = answer_logits(self.model, batch)
        if not agree(cut[:, :-1], whole):
            self.prefixes = None
            if self.runtime.main:
                notice("the base looks ahead in its prompts: they are read whole at every step.")

    def _diverged(self, what: str) -> DataError:
        kept = Path(self.config.out) / "last.ckpt"
        where = (
            f"{kept} holds the last good weights." if kept.exists() else "train.checkpoint_every was 0: none is kept."
        )
        return DataError(
            f"{what} at step {self.global_step}, samples {', '.join(self.keys[:8])}: lower train.lr, or look at these "
            f"samples. {where}"
        )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.shared:
            average_gradients(self.model.parameters())
        self.method.after_backward(self.model.llm)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Lightning's, unless weights lie in parts at several processes, whose norm it cannot take."""
        if self.shared and gradient_clip_val:
            clip_gradients(self.model.parameters(), gradient_clip_val)
        elif not self.shared:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_model(self) -> None:
        """Lightning's FSDP2 asks for it; weights were shared out when they were loaded."""

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's own does not look into dataclasses that are frozen."""
        return batch.to(device)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What trains."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trained}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs; refuse weights that are not finite, so that the last good ones stay."""
        if not all(bool(whole(p.detach()).isfinite().all()) for p in self.parameters() if p.requires_grad):
            raise self._diverged("weights became infinite or NaN")
        checkpoint["pairalign"] = {
            "config": to_dict(self.config),
            "batches": self.batches,
            "processes": self.runtime.world,
        }
        checkpoint["method"] = self.method.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the method what it had gathered."""
        self.method.load_state(checkpoint.get("method", {}))

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up, then cosine to 2 % of the rate; the language model alone waits for `bridge_steps`."""
        train = self.config.train
        sensors: dict[str, Sensor] = dict(self.model.sensors.items())  # type: ignore[arg-type]
        bridge = [p for sensor in sensors.values() for p in sensor.bridge.parameters() if p.requires_grad]
        own = [p for p in self.model.llm.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": bridge, "lr": train.bridge_lr, "weight_decay": 0.0},
            {"params": own, "lr": train.lr, "weight_decay": train.weight_decay},
        ]
        for name, sensor in sensors.items():
            rate = self.config.sensors[name].lr if sensor.tuned else None
            encoder = [p for p in sensor.encoder.parameters() if p.requires_grad]
            groups.append({"params": encoder, "lr": train.lr if rate is None else rate, "weight_decay": 0.0})
        optimizer = build_adamw([group for group in groups if group["params"]])

        waited = (0, train.bridge_steps, *(0 for _ in sensors))
        waits = [wait for group, wait in zip(groups, waited, strict=True) if group["params"]]
        rates: list[Callable[[int], float]] = [
            partial(warmup_cosine, steps=train.steps, warmup=train.warmup, wait=wait) for wait in waits
        ]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
