"""The Lightning trainer of a stage-one run: progress bar, JSON-lines metrics, checkpoints, processes.

Note:
    Device and processes come from the `Runtime`, not from the configuration, so the same command serves one process and
    many. Epochs do not exist here: a run is a number of steps.

    Lightning's `CSVLogger` deletes what is there when a run goes on, and has no JSON lines; whoever wants it names it
    in `log`. Its `ModelCheckpoint` keeps the run's folder in the file, warns where that is another now or is not empty,
    and writes over the checkpoint that it replaces.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.strategies import Strategy

from pairalign.align.checkpoint import InPlaceIO
from pairalign.align.dataset import PairBatch, PairDataset
from pairalign.align.extras import Extras, begin_logs, cut_logs, tell
from pairalign.align.interrupt import StopCleanly
from pairalign.align.metrics import MetricsLength
from pairalign.align.strategy import find_strategy
from pairalign.align.sums import Sums
from pairalign.core.config import AlignConfig
from pairalign.core.errors import DataError
from pairalign.data.loading import BatchLoader
from pairalign.files import append_line, replacing
from pairalign.runs.folder import LOGS
from pairalign.runtime import Runtime

NONE = Extras()


class Runnable(Protocol):
    """What a run of either stage says: its folder, and `train` with the names of `TrainConfig`."""

    @property
    def out(self) -> str: ...

    @property
    def train(self) -> Any: ...


class JsonLines(L.Callback):
    """Append the figures of optimizer steps, the task's `told`, and of validations to metrics.jsonl, an object each."""

    def __init__(self, path: Path, every: int, runtime: Runtime) -> None:
        self.path, self.every, self.runtime = path, every, runtime
        self.last = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.last = trainer.global_step
        if self.runtime.main and trainer.loggers:
            cut_logs(trainer.loggers, self.last)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step % self.every == 0 and step != self.last:  # with accumulation several batches share a step
            self.last = step
            told: Sums = pl_module.told  # type: ignore[assignment]
            self._write(trainer, dict(sorted(told.means(self.runtime).items())))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = trainer.callback_metrics
        self._write(trainer, {name: float(found[name]) for name in sorted(found) if name.startswith("val")})

    def _write(self, trainer: L.Trainer, values: dict[str, float]) -> None:
        if not self.runtime.main:
            return
        append_line(self.path, json.dumps({"step": trainer.global_step, **values}))
        tell(trainer.loggers, trainer.global_step, values)


class ProgressBar(TQDMProgressBar):
    """Lightning's bars on stderr, as all others are: what is printed on stdout can be piped and parsed."""

    def init_train_tqdm(self) -> Tqdm:
        with redirect_stdout(sys.stderr):  # the bar takes what sys.stdout is when it is made
            return super().init_train_tqdm()

    def init_validation_tqdm(self) -> Tqdm:
        with redirect_stdout(sys.stderr):
            return super().init_validation_tqdm()


class Checkpoints(L.Callback):
    """Write last.ckpt every so many steps: before the next batch, where the optimizer step before it is whole."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.last = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take back the batch that had begun when the checkpoint was written: Lightning counts it twice, and would
        validate one batch early ever after."""
        trainer.fit_loop.epoch_loop.batch_progress.total.reset_on_restart()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if self.every and step % self.every == 0 and step != self.last:
            self.last = step
            save_checkpoint(trainer, self.path)


def save_checkpoint(trainer: L.Trainer, path: Path) -> None:
    """Save under a temporary name, then rename; every process takes part."""
    with replacing(path) if trainer.is_global_zero else nullcontext(path) as partial:
        trainer.save_checkpoint(trainer.strategy.broadcast(partial))


def fit(trainer: L.Trainer, stop: StopCleanly, task: L.LightningModule, path: Path, **options: Any) -> None:
    """`trainer.fit`; where a signal stopped it, a checkpoint at `path` and `Stopped`."""
    stopping = stop.runtime.stopping
    with stopping.after_steps():
        try:
            trainer.fit(task, **options)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            if stopping.number is not None:  # it had the signal, too, before it could know better
                raise stopping.stopped() from None
            raise DataError(f"{error} If memory ran out, use fewer workers.") from error
        if stop.number:
            stopping.saving = True
            save_checkpoint(trainer, path)
            stopping.saving = False
    if stop.number:
        raise stopping.stopped(stop.number)


def build_trainer(
    config: Runnable,
    runtime: Runtime,
    *,
    progress: bool,
    validate: bool,
    strategy: Strategy | None = None,
    extras: Extras = NONE,
) -> tuple[L.Trainer, StopCleanly]:
    """A trainer for `config.train`, and the callback that knows whether it was stopped. strategy: if not its
    own. extras: what the user adds."""
    _quiet()
    train, out = config.train, Path(config.out)
    stop = StopCleanly(runtime, train.validate_every or train.steps)
    callbacks: list[L.Callback] = [
        MetricsLength(out / "metrics.jsonl"),
        JsonLines(out / "metrics.jsonl", max(1, train.steps // 200), runtime),
        Checkpoints(out / "last.ckpt", train.checkpoint_every),
        stop,
        *extras.callbacks,
    ]
    if progress and runtime.main:
        callbacks.append(ProgressBar(refresh_rate=1))
    if runtime.main and extras.loggers:
        begin_logs(extras.loggers, out / LOGS)
    trainer = L.Trainer(
        accelerator=runtime.device.type,
        devices=_devices(runtime),
        num_nodes=runtime.nodes,
        strategy=strategy or find_strategy(train.strategy, runtime),
        plugins=[InPlaceIO(), *([runtime.environment] if runtime.environment else [])],
        precision=train.precision,  # type: ignore[arg-type]
        max_steps=train.steps,
        max_epochs=-1,
        accumulate_grad_batches=train.accumulate,
        gradient_clip_val=train.clip or None,
        callbacks=callbacks,
        enable_progress_bar=progress and runtime.main,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=list(extras.loggers) or False,
        default_root_dir=str(out),
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=(train.validate_every or train.steps) * train.accumulate if validate else None,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )
    return trainer, stop


def _devices(runtime: Runtime) -> Any:
    if runtime.world == 1 and runtime.device.index is not None:
        return [runtime.device.index]
    return runtime.local_world


def loader(dataset: PairDataset, config: AlignConfig) -> BatchLoader[PairBatch]:
    """Batches of a dataset, made by `data.workers` in training."""
    return BatchLoader(dataset, config.data.workers if dataset.train else 0, config.plugins)


def _quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen parts are
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*IterableDataset.*__len__.*")
