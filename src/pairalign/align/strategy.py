"""How Lightning trains over the processes of a `Runtime`, which are there already.

Note:
    Lightning sends a validation step through DDP, which broadcasts buffers in every forward pass; a process with fewer
    validation batches than another then waits for ever. Here validation talks to nobody.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from pairalign.core.errors import ConfigError
from pairalign.runtime import Runtime

UNUSED = {  # names of Lightning's that mean DDP, and whether parameters may go without a gradient
    "auto": True,  # a term of weight zero leaves a head without gradient
    "ddp_find_unused_parameters_true": True,
    "ddp": False,
}


class JoinedDDP(DDPStrategy):
    """Lightning's DDP in processes that are there already, with validation on each for itself."""

    def _configure_launcher(self) -> None:
        """No launcher: `pairalign.processes.launch` was it."""

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own step, past DDP."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)


def check_strategy(name: str) -> None:
    """Raise `ConfigError` for a strategy that stage one cannot train with."""
    if name.startswith(("fsdp", "deepspeed", "model_parallel")):
        raise ConfigError(
            f"train.strategy={name!r}: stage one trains small encoders that every process holds whole, and gathers "
            "their latents itself: give auto or ddp. Stage two has fsdp2."
        )


class InPlace(SingleDeviceStrategy):
    """One process whose model is where it computes already: it is not moved, so that one on several devices stays."""

    def model_to_device(self) -> None:
        """Nothing to move."""

    def teardown(self) -> None:
        """Lightning's own, without the way back to the CPU."""
        assert self.accelerator is not None
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


def find_strategy(name: str, runtime: Runtime) -> Strategy | str:
    """What Lightning's Trainer takes as its strategy for `train.strategy`."""
    if runtime.world > 1 and name in UNUSED:
        return JoinedDDP(find_unused_parameters=UNUSED[name])
    if runtime.world == 1 and name in ("auto", "fsdp2"):  # one process has nobody to share with
        return InPlace(runtime.device)
    return name
