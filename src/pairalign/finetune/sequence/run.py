"""`teach_sequence`: skills taught one after the other, each from where the last one ended, with every way to learn.

The folder has a run of `pairalign recompose` for each stage, ARM/seedN/1-NAME; what the base answers, once for all,
under `base`; and sequence.yaml, sequence.json, sequence.html, sequence.md and sequence.png.

Note:
    All settings are checked before the first stage trains. A stage that has finished is never made again: after a kill
    the same call goes on where it was, within a stage from its last checkpoint. Stages made with other settings are
    refused, and so is all that begins at them.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pairalign.core.config import to_yaml
from pairalign.core.errors import ConfigError, PairalignError, StorageError
from pairalign.evaluate.report import plain
from pairalign.files import why_unwritable, write_json, write_text
from pairalign.finetune.check import check_tasks
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.identity import recompose_identity
from pairalign.finetune.load import read_results
from pairalign.finetune.rules import check_config, settled
from pairalign.finetune.run import plan_recompose, recompose_mllm
from pairalign.finetune.sequence.config import SequenceConfig
from pairalign.finetune.sequence.gather import Done, gather
from pairalign.finetune.sequence.stages import Stage, alone, stages_of
from pairalign.processes.launch import current
from pairalign.runs.folder import DONE, RunFolder

CONFIG, RESULTS, REPORT = "sequence.yaml", "sequence.json", "sequence.html"
NAMES = (CONFIG, RESULTS, REPORT, "sequence.md", "sequence.png")


@dataclass(frozen=True)
class SequenceRun:
    """A finished sequence: its folder, what was measured (see `gather`), and its page."""

    folder: Path
    config: SequenceConfig
    results: dict[str, Any]
    report: Path


def teach_sequence(config: SequenceConfig, *, progress: bool = True, fresh: bool = False) -> SequenceRun:
    """Teach every arm all stages in order, or go on where it was interrupted, and write the report.

    Args:
        config: see `load_config`.
        progress: show bars.
        fresh: set aside what earlier calls made of each stage.

    Returns:
        The figures of all arms, and the folder of the report.

    Raises:
        PairalignError: what `recompose_mllm` would, naming stage and arm.
    """
    stages, folder, done = check_sequence(config), Path(config.out), list[Done]()
    for stage in stages:
        if progress and current().main:
            tqdm.write(f"{stage.title} of {len(config.stages)} stages{_left(stages, done)}", file=sys.stderr)
        done.append(_make(stage, progress=progress, fresh=fresh))
        if current().main:
            if len(done) == 1:
                write_text(folder / CONFIG, f"# pairalign sequence {folder / CONFIG}\n" + to_yaml(config))
            write_json(folder / RESULTS, plain(gather(done)))
    results = plain(gather(done))
    if current().main:
        from pairalign.finetune.sequence.report import write_report

        write_report(results, folder)
    return SequenceRun(folder, config, results, folder / REPORT)


def check_sequence(config: SequenceConfig) -> list[Stage]:
    """Every stage, once its settings, shards and texts are found right; nothing is written, no base is loaded."""
    folder = Path(config.out)
    if reason := why_unwritable(folder):
        raise ConfigError(f"out={config.out!r}: {reason}: choose another folder.")
    if not (folder / CONFIG).exists():
        for name in NAMES:
            if (folder / name).exists():
                raise StorageError(f"out={config.out!r} holds {name}, which no sequence wrote: choose another `out`.")
    stages = stages_of(config)
    for stage in stages:
        if stage.seed == config.seeds[0]:
            with _named(stage):
                found = settled(stage.config)
                check_config(found)
                check_tasks(found)
    return stages


def _make(stage: Stage, *, progress: bool, fresh: bool) -> Done:
    begun = time.monotonic()
    with _named(stage):
        if not fresh and (known := _finished(stage)) is not None:
            return Done(stage, known)
        run = recompose_mllm(stage.config, progress=progress, fresh=fresh)
    results = run.results
    del run
    gc.collect()  # the next stage loads its own base
    return Done(stage, results, time.monotonic() - begun)


def _finished(stage: Stage) -> dict[str, Any] | None:
    """What a stage measured that has finished before, `None` of another; raise `IdentityError` where it was made from
    something else. No model is loaded."""
    folder = RunFolder(Path(stage.config.out), "recompose", RecomposeConfig)
    if not folder.finished:
        return None
    config = settled(replace(stage.config, plugins=folder.named_or_kept(stage.config.plugins)))
    folder.check(recompose_identity(config))
    return read_results(folder.path / DONE["recompose"])


@contextmanager
def _named(stage: Stage) -> Iterator[None]:
    try:
        yield
    except PairalignError as error:
        raise type(error)(f"{stage.title}: {error}") from error


def is_finished(stage: Stage) -> bool:
    """Whether a stage has been made."""
    return (Path(stage.config.out) / DONE["recompose"]).is_file()


def _left(stages: Sequence[Stage], done: Sequence[Done]) -> str:
    """How long the rest will take, as far as stages that were made now can tell: by their steps."""
    timed = [one for one in done if one.seconds is not None]
    steps = sum(one.stage.config.train.steps for one in timed)
    if not steps:
        return ""
    rest = sum(stage.config.train.steps for stage in stages[len(done) :] if not is_finished(stage))
    return f", about {clock(sum(one.seconds or 0 for one in timed) / steps * rest)} to go"


def clock(seconds: float) -> str:
    """90 → "2 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class SequencePlan:
    """Every stage with its steps and its state, and what the first of each arm gave when it was tried out."""

    stages: tuple[dict[str, Any], ...]
    arms: dict[str, dict[str, Any]]

    @property
    def seconds(self) -> float:
        """Expected of all that is left, measuring aside."""
        return sum(one["seconds"] for one in self.stages if one["state"] != "finished")

    def record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"stages": list(self.stages), "arms": self.arms, "seconds": self.seconds}

    def __str__(self) -> str:
        lines = [f"{'arm':<28} {'seed':>4}  {'stage':<24} {'steps':>7}  {'time':>8}  state"]
        for one in self.stages:
            told = f"{one['arm']:<28} {one['seed']:>4}  {one['name']:<24} {one['steps']:>7,}"
            lines.append(f"{told}  {clock(one['seconds']):>8}  {one['state']}")
        for arm, plan in self.arms.items():
            lines.append(f"{arm}: trains {plan['trained']:,} parameters, {plan['memory'] / 2**30:.2f} GiB at the peak")
        return "\n".join([*lines, f"time: {clock(self.seconds)} for what is left, measuring aside"])


def plan_sequence(config: SequenceConfig) -> SequencePlan:
    """What all stages would take; tries out the first of each arm, writes nothing."""
    stages, arms = check_sequence(config), dict[str, dict[str, Any]]()
    for stage in stages:
        if stage.arm not in arms:
            with _named(stage):
                plan = plan_recompose(alone(stage))
            arms[stage.arm] = {"trained": sum(plan.trained.values()), "memory": plan.memory, "step": plan.step}
    rows = [
        {
            "arm": stage.arm,
            "seed": stage.seed,
            "name": stage.name,
            "steps": stage.config.train.steps,
            "seconds": arms[stage.arm]["step"] * stage.config.train.steps,
            "state": "finished" if is_finished(stage) else "begun" if Path(stage.config.out).exists() else "to do",
        }
        for stage in stages
    ]
    return SequencePlan(tuple(rows), arms)
