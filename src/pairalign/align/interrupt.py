"""Stop training at the end of an optimizer step once a process was signalled, so that the checkpoint is whole.

Note:
    An interrupt inside an optimizer step leaves half of the weights updated, and between two batches of one step it
    loses the first one's gradient. All processes stop at the same step, whichever was signalled.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from pairalign.runtime import Runtime


class StopCleanly(L.Callback):
    """Turn a signal that `Stopping` noted into `trainer.should_stop`; `number` is then the signal's, on every process.

    validate_every: steps after which validation is due; one that is not due does not hold up the stop.
    """

    def __init__(self, runtime: Runtime, validate_every: int) -> None:
        self.runtime, self.validate_every = runtime, validate_every
        self.number = 0
        self.last = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.last = trainer.global_step
        self.runtime.stopping.install()  # Lightning has just put its own handler before it

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.last:  # only a whole optimizer step can be resumed exactly
            return
        self.last = trainer.global_step
        self.number = int(self.runtime.all_max([self.runtime.stopping.number or 0])[0])
        if self.number:
            trainer.should_stop = True
            if self.last % self.validate_every:
                trainer.limit_val_batches = 0  # Lightning validates before it stops
