"""`recompose_mllm`: one run of stage two, from a configuration to a folder that can be asked, shipped and resumed.

A run folder holds config.yaml, versions.json, metrics.jsonl, last.ckpt, chosen/ and prefixes/ (to resume), and when
done bridge.safetensors, the delta under `dormant/`, receipt.json and results.json.

Note:
    Everything is checked before the base is touched; calling it again on a finished folder loads it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairalign.align.precision import check_trainer
from pairalign.core.errors import ConfigError
from pairalign.dormant.model import DormantModel
from pairalign.dormant.receipt import fingerprint_base
from pairalign.files import remove, why_unwritable, write_json
from pairalign.finetune import chosen, prefixes
from pairalign.finetune.base_cache import open_base_cache
from pairalign.finetune.check import check_tasks, named_tasks
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fit import fit_tasks, measure_origin
from pairalign.finetune.fsdp import is_shared, loaded_dtype, prepare_shared
from pairalign.finetune.identity import recompose_identity
from pairalign.finetune.installed import check_installed
from pairalign.finetune.length import told_world, with_steps
from pairalign.finetune.load import RecomposeRun as RecomposeRun
from pairalign.finetune.load import load_recomposed as load_recomposed
from pairalign.finetune.prepare import prepare
from pairalign.finetune.prepare import read_tasks as read_tasks
from pairalign.finetune.questions import sample_question
from pairalign.finetune.results import save_trained, summarise, tuned_sensors
from pairalign.finetune.rules import check_config, settled
from pairalign.finetune.start import begin, check_start, measured_before
from pairalign.masters import drop_masters
from pairalign.processes.launch import launch
from pairalign.runs.checkpoint import read_checkpoint
from pairalign.runs.claim import Claim, claim
from pairalign.runs.folder import CHECKPOINT, RunFolder
from pairalign.runs.plugins import load_plugins
from pairalign.runtime import Runtime, find_device

if TYPE_CHECKING:
    from pairalign.finetune.dry_run import RunPlan


def recompose_mllm(config: RecomposeConfig, *, progress: bool = True, fresh: bool = False) -> RecomposeRun:
    """Teach a language model its new sensors, or go on where an interrupted run of the same configuration stopped.

    Args:
        config: see `load_config`.
        progress: show a bar, and say what is done.
        fresh: check everything, set aside what a run wrote into `out` as `OUT.old-N`, and start over.

    Returns:
        The run, with model, processor and results.

    Raises:
        PairalignError: before training starts where something does not fit, as `ConfigError`, `DataError` or
            `DormantError`.
    """
    config = _checked(config)
    if fresh or not RunFolder(Path(config.out), "recompose", RecomposeConfig).trained:
        check_installed(config)
        check_start(config)
        check_tasks(config)
    folder, work = Path(config.out), partial(_recompose, config, progress=progress, fresh=fresh)
    return launch(config.train, work, checkpoint=folder / CHECKPOINT, reload=partial(load_recomposed, folder))


def _recompose(config: RecomposeConfig, runtime: Runtime, *, progress: bool, fresh: bool) -> RecomposeRun:
    check_trainer(config.train, runtime.device)
    config = _with_steps(config, runtime.world)
    with claim("recompose", config, recompose_identity, runtime, fresh=fresh) as mine:
        if mine.finished is None:
            return _train(mine, runtime, progress=progress and runtime.main)
        how: dict[str, Any] = {"plugins": mine.config.plugins, "trust_remote_code": config.trust_remote_code}
        return replace(load_recomposed(mine.folder.path, runtime.device, **how), finished=mine.finished)


def _train(mine: Claim[RecomposeConfig], runtime: Runtime, *, progress: bool) -> RecomposeRun:
    from pairalign.align.extras import build_extras

    config, path = mine.config, mine.folder.path
    extras = build_extras(config)
    shared, place = is_shared(config, runtime), path / chosen.FOLDER
    resumed = not mine.fresh and (path / CHECKPOINT).exists()
    done = read_checkpoint(path / CHECKPOINT, config, runtime.world)["batches"] if resumed else None
    made = prepare(config, runtime.device, mapped=shared)
    model, method = made.model, made.method
    for task in made.tasks:
        task.keep(made.processor, config.train.memory / len(made.tasks), progress=progress)
    dtype = loaded_dtype(config) if shared else None
    before = fingerprint_base(model.llm, dtype) if config.method in ("dormant", "bridge") else None
    cache = None
    if runtime.main and not resumed and any(made.measured.values()):
        hashes, own = before or fingerprint_base(model.llm, dtype), config.cache is None
        cache = open_base_cache(config.cache or place, model, made.processor, hashes, runtime, dtype, own=own)
    if mine.fresh and runtime.main:
        remove(path / prefixes.FOLDER)
    disk = prefixes.open_disk(config, model, made.processor, before, runtime)
    origin = None
    if config.start is not None and not resumed:
        origin = measure_origin(config, made, runtime, cache, measured_before(config))
    setup = made.setup._replace(chosen=None if mine.fresh else place, write=runtime.main)
    if shared:
        model.llm = prepare_shared(model.llm, method, setup, config, runtime)
    else:
        model.llm = begin(config, model, method, setup)
    if config.train.gradient_checkpointing:
        model.llm.gradient_checkpointing_enable()  # type: ignore[operator]
    mine.begin()
    if isinstance(model.llm, DormantModel) and config.start is None:
        chosen.keep_chosen(place, setup.key(), model.llm, runtime)
    callback = fit_tasks(config, made, runtime, cache, origin, extras, done=done, disk=disk, progress=progress)
    count = sum(p.numel() for p in model.llm.parameters() if p.requires_grad)
    model.llm = callback.pull.finish(method, model.llm)
    drop_masters(model.parameters())
    model.eval()
    asked = {task.name: sample_question(task) for task in made.tasks}
    results = {**summarise(config, callback), "trained": count, "tuned": tuned_sensors(model), "asked": asked}
    if runtime.main or shared:
        save_trained(path if runtime.main else None, model, method, before)
    if runtime.main:
        remove(place)
        remove(path / prefixes.FOLDER)
        keep = config.train.keep_checkpoint
        mine.folder.finish(lambda: write_json(path / "results.json", results), keep_checkpoint=keep)
    runtime.barrier()
    return RecomposeRun(path, config, model, made.processor, results)


def _with_steps(config: RecomposeConfig, world: int) -> RecomposeConfig:
    return config if config.train.epochs is None else with_steps(config, named_tasks(config, "tasks"), world)


def _checked(config: RecomposeConfig) -> RecomposeConfig:
    """Settled and found right, as far as that takes no data."""
    load_plugins(RunFolder(Path(config.out), "recompose", RecomposeConfig).named_or_kept(config.plugins))
    config = settled(config)
    check_config(config)
    for name in ("out", "cache", "score_cache"):
        folder = getattr(config, name)
        if folder is not None and (reason := why_unwritable(folder)):
            raise ConfigError(f"{name}={folder!r}: {reason}: choose another folder.")
    return config


def plan_recompose(config: RecomposeConfig) -> RunPlan:
    """What a run would train, need and save, tried out with its method; writes nothing, raises what the run would."""
    from pairalign.finetune.dry_run import try_out

    config = _checked(config)
    device = find_device(config.train.accelerator, "train.accelerator")
    check_trainer(config.train, device)
    check_installed(config)
    check_start(config)
    asked = check_tasks(config)
    config = with_steps(config, asked["tasks"], told_world(config))
    made = prepare(config, device, asked)
    measured = [questions.task for part in made.measured.values() for questions in part]
    parts = made.method, made.setup, made.tasks, measured, Collator(made.processor), made.calibration
    return try_out(config, made.model, *parts)
