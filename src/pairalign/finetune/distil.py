"""Distillation: the model held to what the base answers to the new task's own inputs, learning without forgetting.

L + λ T² KL(softmax(base / T) ‖ softmax(model / T)), mean over answer tokens, as L is. Source: arXiv:1606.09282.
The base is the model with its updates off where a method has such, dormant weights and LoRA: nothing is kept beside it.
Full tuning overwrites what it began with, and keeps a frozen decoder (`method: lwf`). Logits that were kept once would
be no choice: the bridge trains, and what the base says of a signal is another thing at every step.

Note:
    The base reads every batch once more, forward. Of what it says the logits at answer tokens are held until the
    backward pass, and those of prompts and padding are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import ConfigError
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.measure import answer_logits
from pairalign.sensors.model import SensorModel

if TYPE_CHECKING:
    from pairalign.finetune.methods.method import Method


@torch.no_grad()
def base_says(model: SensorModel, batch: Batch, base: nn.Module) -> Tensor:
    """Logits (N, V) of a base at the N answer tokens of a batch."""
    logits, labels = answer_logits(model, batch, base)
    return logits[labels != IGNORED]


def divergence(base: Tensor, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(base ‖ model) of base (N, V) and logits (B, K, V), mean over the N answers of labels (B, K), in nats."""
    old, new = (F.log_softmax(x.float() / temperature, -1) for x in (base, logits[labels != IGNORED]))
    return F.kl_div(new, old, log_target=True, reduction="none").sum(-1).mean()


def check_distil(config: RecomposeConfig, method: Method) -> None:
    """Raise `ConfigError` for a run that could not be held to its base, before anything is loaded."""
    weight = config.train.distil.weight
    if not weight:
        return
    asked = f"train.distil.weight={weight:g}"
    if config.method == "lwf":
        raise ConfigError(f"{asked}: method 'lwf' distils by itself: give its own options, and 0 here.")
    if not method.keeps_base:
        raise ConfigError(
            f"{asked}: method {config.method!r} has no updates to switch off: give 'dormant', 'lora' or 'lwf', or 0."
        )
    if config.train.strategy == "fsdp2":
        raise ConfigError(f"{asked}: not with train.strategy='fsdp2': give 'ddp', or 0.")
