"""Lightning's run over the training tasks, with the measuring that a run of stage two does in between."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairalign.finetune.base_cache import BaseCache
from pairalign.finetune.bias import probe_tokens
from pairalign.finetune.callbacks import EvaluationCallback, Origin
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import is_shared
from pairalign.finetune.gate import Gate, Measured
from pairalign.finetune.irrelevant import gather_signals
from pairalign.finetune.methods import Method
from pairalign.finetune.prefixes import WHOLE
from pairalign.finetune.prepare import Prepared
from pairalign.finetune.rehearse import build_rehearsal
from pairalign.finetune.sampling import TaskDataset
from pairalign.finetune.steps import StepLoader
from pairalign.finetune.with_signals import WithSignals
from pairalign.runs.folder import CHECKPOINT, METRICS
from pairalign.runtime import Runtime
from pairalign.sensors.prefix_disk import PrefixDisk

if TYPE_CHECKING:
    from pairalign.align.extras import Extras


def fit_tasks(
    config: RecomposeConfig,
    made: Prepared,
    runtime: Runtime,
    cache: BaseCache | None = None,
    origin: Origin | None = None,
    extras: Extras | None = None,
    *,
    done: int | None = None,
    disk: PrefixDisk | None = None,
    progress: bool,
) -> EvaluationCallback:
    """Train what the method made trainable; gives what was measured. The model ends on its device with the weights that
    are kept.

    cache, origin: see `EvaluationCallback`. extras: what the user adds to the trainer. disk: see `Prefixes`.
    done: batches that the checkpoint in `config.out` has seen, which it then goes on from.
    """
    from pairalign.align.trainer import NONE, build_trainer, fit
    from pairalign.finetune.module import StageTwo
    from pairalign.finetune.strategy import SharedOut

    model, processor, method, tasks, _, _, calibration = made
    path, task = Path(config.out) / CHECKPOINT, StageTwo(model, method, config, runtime, disk)
    size, accumulate = config.train.batch_size, config.train.accumulate
    keeps = bool(config.train.prefix_memory or disk) and task.prefixes is not None
    if runtime.main and task.prefixes is None and (config.train.prefix_memory or config.train.prefix_disk):
        print(f"train.prefix_memory and train.prefix_disk keep nothing: {WHOLE}.", file=sys.stderr)
    collate = Collator(processor, hashed=keeps)
    metrics = path.with_name(METRICS) if runtime.main else None
    callback = _callback(config, made, runtime, cache, path=metrics, origin=origin)
    if not config.train.steps:
        callback.start()
        callback.close(0)
        return callback
    rehearsal = build_rehearsal(config, model, method, collate, tasks, calibration)
    where = runtime.rank, runtime.world
    dataset = TaskDataset(tasks, collate, size, config.seed, *where, accumulate, rehearsal, config.train.length_buckets)
    strategy = SharedOut(runtime) if is_shared(config, runtime) else None
    how: dict[str, Any] = {"strategy": strategy, "extras": extras or NONE}
    trainer, stop = build_trainer(config, runtime, progress=progress, validate=False, **how)
    callback.loggers = trainer.loggers if runtime.main else ()
    callback.interrupted = lambda: bool(stop.number)
    trainer.callbacks.insert(0, callback)  # type: ignore[attr-defined]
    dataset.start = task.batches = done or 0
    model.train()
    fit(
        trainer,
        stop,
        task,
        path,
        train_dataloaders=StepLoader(dataset, config.train.workers, config.plugins, accumulate=accumulate),
        ckpt_path=None if done is None else str(path),
        weights_only=True,
    )
    if config.device_map is None:  # else it is on several
        model.to(runtime.device)  # some of Lightning's strategies leave it on the CPU
    if callback.kept is None:  # the checkpoint was of the last step
        callback.close(config.train.steps)
    return callback


def measure_origin(
    config: RecomposeConfig, made: Prepared, runtime: Runtime, cache: BaseCache | None, begun: Measured | None
) -> Origin:
    """What the base answers before it is given what a run before has left; begun: what that measured."""
    callback = _callback(config, made._replace(method=Method()), runtime, cache)
    return Origin(callback.measure_base(), callback.base, callback.first, callback.taken, begun)


def _callback(
    config: RecomposeConfig,
    made: Prepared,
    runtime: Runtime,
    cache: BaseCache | None,
    *,
    path: Path | None = None,
    origin: Origin | None = None,
) -> EvaluationCallback:
    answers = itertools.chain.from_iterable(q.task.answers() for q in made.measured.get("validation", ()))
    return EvaluationCallback(
        made.model,
        made.method,
        made.measured,
        path,
        every=config.train.validate_every,
        gate=Gate.of(config.max_forgetting),
        vocabulary=probe_tokens(config.probe, answers, made.processor.tokenizer) or None,
        tokens=config.train.measure_tokens,
        own=config.probe.own,
        runtime=runtime,
        cache=cache,
        again=_asked_again(config, made),
        pull_back=config.train.pull_back,
        origin=origin,
    )


def _asked_again(config: RecomposeConfig, made: Prepared) -> WithSignals | None:
    """How held-out questions are asked with a signal in the prompt; `None` where they are not."""
    if not (config.train.measure_with_signals and made.measured.get("held_out")):
        return None
    shown = {"validation": [q.task for q in made.measured.get("validation", ())], "tasks": made.tasks}
    signals = gather_signals(shown, made.processor, config.seed)
    return WithSignals(signals, config.train.measure_signals_limit, config.method)
