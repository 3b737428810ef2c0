"""Stop training at the end of a step on Ctrl-C or SIGTERM, so that the checkpoint is whole.

Where it bites: an interrupt inside an optimizer step leaves half of the weights updated. A second Ctrl-C stops at
once and leaves the last checkpoint written before.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L


class StopCleanly(L.Callback):
    """Turn the first SIGINT or SIGTERM into `trainer.should_stop`; `stopped` says whether one came."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        print("\nstopping after this step, then writing the checkpoint; once more to stop at once", file=sys.stderr)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        batches = trainer.fit_loop.total_batch_idx + 1
        if batches % trainer.accumulate_grad_batches:  # only a whole optimizer step can be resumed exactly
            return
        stopped = trainer.strategy.reduce_boolean_decision(self.stopped, all=False)
        trainer.should_stop = trainer.should_stop or stopped
        self.stopped = stopped

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
