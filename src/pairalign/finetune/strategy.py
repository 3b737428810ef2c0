"""Lightning's FSDP2 strategy, for a model that was shared out when it was loaded.

A checkpoint is one file that rank 0 writes, with whole tensors: what one process writes, so that either resumes from
either's.

Note:
    To save, every process reads what trains together, a tensor at a time; rank 0 needs memory for all of it, three
    times (weights and AdamW's two moments), on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from pairalign.runtime import Runtime
from pairalign.sharding import part_of, whole


class SharedOut(ModelParallelStrategy):
    """FSDP2 over all processes; weights are shared out already, see `pairalign.finetune.fsdp`."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(data_parallel_size=runtime.world, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def _configure_launcher(self) -> None:
        """No launcher: `pairalign.processes.launch` was it."""

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands the optimizers' states back to `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """What trains, whole, on the CPU of rank 0."""
        assert self.lightning_module is not None
        return self._whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As one process would write it, on the CPU of rank 0."""
        return self._whole(getattr(optimizer, "_optimizer", optimizer).state_dict())

    def _whole(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            found = whole(value.detach())
            return found.cpu() if self.is_global_zero else None
        if isinstance(value, Mapping):
            return {name: self._whole(part) for name, part in value.items()}
        return value

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Every process reads the file."""
        found: dict[str, Any] = self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)
        return found

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Write this process's part of every tensor."""
        assert self.lightning_module is not None
        own = dict(self.lightning_module.named_parameters())
        for name, value in checkpoint["state_dict"].items():
            own[name].copy_(part_of(value, own[name]))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Likewise for what optimizers remember of each weight."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                n: {
                    name: part_of(value, weights[n]) if torch.is_tensor(value) and value.ndim else value
                    for name, value in of.items()
                }
                for n, of in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": parts})
