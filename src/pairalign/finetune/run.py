"""`recompose_mllm`: one run of stage two, from a configuration to a folder that can be asked, shipped and resumed.

A run folder holds config.yaml, versions.json, metrics.jsonl, last.ckpt and chosen/ (to resume), and when done
bridge.safetensors, the delta under `dormant/`, receipt.json and results.json.
Where it bites: everything is checked before the base is touched; calling it again on a finished folder loads it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pairalign.align.precision import check_trainer
from pairalign.align.store import write_versions
from pairalign.core.config import load_config
from pairalign.core.errors import CheckpointError, ConfigError
from pairalign.data.loading import BatchLoader
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import Calibration
from pairalign.dormant.receipt import fingerprint_base, write_receipt
from pairalign.files import remove, replacing, why_unwritable, write_json
from pairalign.finetune import chosen
from pairalign.finetune.assemble import assemble
from pairalign.finetune.callbacks import Watch, flat
from pairalign.finetune.check import check_signals, check_tasks, check_words
from pairalign.finetune.collator import Collator, calibration_batches
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import check_shared, is_shared, loaded_dtype, prepare_shared, read_along
from pairalign.finetune.gate import moved
from pairalign.finetune.identity import recompose_identity
from pairalign.finetune.measure import answer_words
from pairalign.finetune.methods import Method, create_method
from pairalign.finetune.methods.method import Setup
from pairalign.finetune.questions import Questions, sample_question
from pairalign.finetune.sampling import TaskFeed
from pairalign.finetune.tasks import Task
from pairalign.processes.launch import launch
from pairalign.runs.checkpoint import read_checkpoint
from pairalign.runs.folder import CONFIG, RunFolder
from pairalign.runs.identity import Identity
from pairalign.runtime import DeviceLike, Runtime, find_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

if TYPE_CHECKING:
    from pairalign.finetune.dry_run import RunPlan


@dataclass(frozen=True)
class RecomposeRun:
    """A finished run: folder, configuration, the model in evaluation mode, its processor, and what was measured.

    finished: when it had finished, if it had before and nothing was trained now.
    """

    folder: Path
    config: RecomposeConfig
    model: SensorModel
    processor: SensorProcessor
    results: dict[str, Any]
    finished: str | None = None


def recompose_mllm(config: RecomposeConfig, *, progress: bool = True, fresh: bool = False) -> RecomposeRun:
    """Teach a language model its new senses, or go on where an interrupted run of the same configuration stopped.

    Raise `ConfigError`, `DataError`, `DormantError`, … before training starts where something does not fit.
    """
    _check(config)
    if fresh or not RunFolder(Path(config.out), "recompose", RecomposeConfig).trained:
        check_tasks(config)
    folder, work = Path(config.out), partial(_recompose, config, progress=progress, fresh=fresh)
    return launch(config.train, work, checkpoint=folder / "last.ckpt", reload=partial(load_recomposed, folder))


def _recompose(config: RecomposeConfig, runtime: Runtime, *, progress: bool, fresh: bool) -> RecomposeRun:
    check_trainer(config.train, runtime.device)
    run = RunFolder(Path(config.out), "recompose", RecomposeConfig)
    with run.held() if runtime.main else nullcontext():
        config = replace(config, plugins=run.named_or_kept(config.plugins))
        identity = recompose_identity(config)
        if runtime.main_only(lambda: run.is_done(identity, fresh=fresh)):
            how: dict[str, Any] = {"plugins": config.plugins, "trust_remote_code": config.trust_remote_code}
            return replace(load_recomposed(run.path, runtime.device, **how), finished=run.date)
        return _train(config, run, identity, runtime, progress=progress and runtime.main, fresh=fresh)


def _train(
    config: RecomposeConfig, run: RunFolder, identity: Identity, runtime: Runtime, *, progress: bool, fresh: bool
) -> RecomposeRun:
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.seed)
    method = create_method(config.method, config.options)
    shared = is_shared(config, runtime)
    model, processor = assemble(config, runtime.device, mapped=shared)
    tasks, sets, calibration = read_tasks(config, processor)
    for one in tasks:
        one.keep(processor, config.train.memory / len(tasks), progress=progress)
    dtype = loaded_dtype(config) if shared else None
    before = fingerprint_base(model.llm, dtype) if config.method in ("dormant", "bridge") else None
    place = run.path / chosen.FOLDER
    setup = _setup(config, calibration)._replace(chosen=None if fresh else place, write=runtime.main)
    if shared:
        model.llm = prepare_shared(model.llm, method, setup, config, runtime)
    else:
        model.llm = method.prepare(model.llm, setup)
    if config.train.gradient_checkpointing:
        model.llm.gradient_checkpointing_enable()  # type: ignore[operator]
    runtime.main_only(lambda: run.begin(config, identity, fresh=fresh))
    if runtime.main:
        write_versions(run.path, config)
        if isinstance(model.llm, DormantModel) and not shared:
            chosen.keep_chosen(place, setup.key(), model.llm)
    watch = _fit(config, model, method, tasks, sets, processor, runtime, progress)
    count = sum(p.numel() for p in model.llm.parameters() if p.requires_grad)
    model.llm = method.finish(model.llm)
    model.eval()
    results = {**_results(config, watch), "trained": count, "asked": {t.name: sample_question(t) for t in tasks}}
    if runtime.main or shared:
        _save(run.path if runtime.main else None, model, method, before)
    if runtime.main:
        remove(place)
        run.finish(lambda: write_json(run.path / "results.json", results))
    runtime.barrier()
    return RecomposeRun(run.path, config, model, processor, results)


def _setup(config: RecomposeConfig, calibration: Calibration | None) -> Setup:
    cache = None if config.score_cache is None else Path(config.score_cache)
    return Setup(config.dormant, calibration, "+".join(config.senses), config.scores, cache)


def _check(config: RecomposeConfig) -> None:
    check_shared(config)
    if reason := why_unwritable(config.out):
        raise ConfigError(f"out={config.out!r}: {reason}: choose another folder.")
    if config.max_forgetting is not None and not config.held_out:
        raise ConfigError("max_forgetting: needs held_out tasks, whose accuracy it bounds.")


def plan_recompose(config: RecomposeConfig) -> RunPlan:
    """What a run would train, need and save, tried out with its method; writes nothing, raises what the run would."""
    from pairalign.finetune.dry_run import try_out

    _check(config)
    device = find_device(config.train.accelerator, "train.accelerator")
    check_trainer(config.train, device)
    asked = check_tasks(config)
    method = create_method(config.method, config.options)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.seed)
    model, processor = assemble(config, device)
    tasks, sets, calibration = read_tasks(config, processor, asked)
    setup = _setup(config, calibration)
    measured = [questions.task for part in sets.values() for questions in part]
    return try_out(config, model, method, setup, tasks, measured, Collator(processor))


def read_tasks(
    config: RecomposeConfig, processor: SensorProcessor, asked: Mapping[str, list[Task]] | None = None
) -> tuple[list[Task], dict[str, list[Questions]], Calibration | None]:
    """Training tasks, the questions of what is measured by part, and the calibration set's inputs, all checked.

    asked: from `check_tasks`, which is called where they are not given.
    """
    asked, collate = check_tasks(config) if asked is None else asked, Collator(processor)
    check_signals(asked, processor.senses)
    check_words(asked, processor.tokenizer)
    measured = {part: asked[part] for part in ("validation", "held_out")}
    size, memory = config.train.measure_batch_size, config.train.memory / max(1, sum(map(len, measured.values())))
    sets = {part: [Questions(t, collate, size, memory) for t in of] for part, of in measured.items()}
    shown = Calibration()
    for one in asked["calibration"]:
        part = calibration_batches(one, collate, config.calibration_size)
        shown += part
        shown.samples += part.samples
    return asked["tasks"], sets, shown or None


def _fit(
    config: RecomposeConfig,
    model: SensorModel,
    method: Method,
    tasks: Sequence[Task],
    sets: Mapping[str, Sequence[Questions]],
    processor: SensorProcessor,
    runtime: Runtime,
    progress: bool,
) -> Watch:
    from pairalign.align.trainer import build_trainer, fit
    from pairalign.finetune.module import StageTwo
    from pairalign.finetune.strategy import SharedOut

    folder = Path(config.out)
    path, task = folder / "last.ckpt", StageTwo(model, method, config, runtime)
    feed = TaskFeed(tasks, Collator(processor), config.train.batch_size, config.seed, runtime.rank, runtime.world)
    answers = itertools.chain.from_iterable(q.task.answers() for q in sets.get("validation", ()))
    watch = Watch(
        model,
        method,
        sets,
        folder / "metrics.jsonl" if runtime.main else None,
        every=config.train.validate_every,
        max_forgetting=config.max_forgetting,
        vocabulary=answer_words(answers, processor.tokenizer) or None,
        tokens=config.train.measure_tokens,
        runtime=runtime,
    )
    if not config.train.steps:
        watch.start()
        watch.close(0)
        return watch
    strategy = SharedOut(runtime) if is_shared(config, runtime) else None
    trainer, stop = build_trainer(config, runtime, progress=progress, validate=False, strategy=strategy)
    watch.interrupted = lambda: bool(stop.number)
    trainer.callbacks.insert(0, watch)  # type: ignore[attr-defined]
    resume = path.exists()
    if resume:
        feed.start = task.batches = read_checkpoint(path, config, runtime.world)["batches"]
    model.train()
    fit(
        trainer,
        stop,
        task,
        path,
        train_dataloaders=BatchLoader(feed, config.train.workers, config.plugins),
        ckpt_path=str(path) if resume else None,
        weights_only=True,
    )
    if config.device_map is None:  # else it is on several
        model.to(runtime.device)  # some of Lightning's strategies leave it on the CPU
    if watch.kept is None:  # the checkpoint was of the last step
        watch.close(config.train.steps)
    return watch


def _results(config: RecomposeConfig, watch: Watch) -> dict[str, Any]:
    base, after = watch.history[0][1], watch.after
    found: dict[str, Any] = {"method": config.method, "seed": config.seed, "stopped": watch.verdict}
    found["kept"] = {"step": watch.kept, "learned": watch.learned}
    for part, name, sign in (("validation", "learning", 1), ("held_out", "forgetting", -1)):
        change = moved(base, after, part)
        if change is not None:
            points = sign * change.points + 0.0
            found[name] = {"points": points, "worst": change.worst, "worst_points": change.worst_points}
    for name, measured in (("base", base), ("after", after)):
        found[name] = {part: {n: s.to_dict() for n, s in tasks.items()} for part, tasks in measured.items()}
    found["history"] = [{"step": step, **flat(measured)} for step, measured in watch.history]
    return found


def _save(folder: Path | None, model: SensorModel, method: Method, before: dict[str, str] | None) -> None:
    """folder: `None` in a process that only helps another one to read weights that they hold together."""
    changed = {} if before is not None else method.changed(model.llm)
    if folder is None:
        read_along(model.llm, before)
        return
    for name, tensors in {"bridge": _state(model.senses, "bridge."), "trained": changed}.items():
        if tensors:
            with replacing(folder / f"{name}.safetensors") as partial:
                save_file(tensors, partial)
    if isinstance(model.llm, DormantModel):
        model.llm.save_pretrained(folder / "dormant")
    if before is not None:
        write_receipt(model.llm, before, folder / "receipt.json")


def _state(senses: nn.Module, part: str) -> dict[str, torch.Tensor]:
    return {n: t.detach().cpu().contiguous() for n, t in senses.state_dict().items() if f".{part}" in f".{n}"}


def load_recomposed(
    folder: str | Path,
    device: DeviceLike = "cpu",
    *,
    plugins: Sequence[str | Path] = (),
    trust_remote_code: bool = False,
) -> RecomposeRun:
    """Load a finished run, wherever its folder is now, with the plugins that it keeps.

    device: where the model goes, see `find_device`. plugins: files to take instead of those of the same name that the
    run keeps. trust_remote_code: run Python code that comes with the base; what the run's own configuration says of it
    does not count, for a run may come from somebody else.
    Raises `CheckpointError` if it is unfinished or damaged, or its method cannot be loaded; `IdentityError` if a plugin
    was edited after training.
    """
    folder, run = Path(folder), RunFolder(Path(folder), "recompose", RecomposeConfig)
    if not (folder / "results.json").is_file():
        raise CheckpointError(f"run {str(folder)!r} is not finished: run the same `pairalign recompose` to go on.")
    config = load_config(RecomposeConfig, folder / CONFIG)
    config = replace(config, out=str(folder), plugins=run.to_load(config.plugins, plugins))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    model, processor = assemble(replace(config, trust_remote_code=trust_remote_code), find_device(device))
    missing = model.senses.load_state_dict(load_file(folder / "bridge.safetensors"), strict=False)
    if missing.unexpected_keys or any(".bridge." in name for name in missing.missing_keys):
        raise CheckpointError(f"{str(folder / 'bridge.safetensors')!r} does not fit the configuration beside it.")
    method = create_method(config.method, config.options)
    if method.leaves == "delta":
        model.llm = DormantModel.from_pretrained(model.llm, folder / "dormant")
    elif method.leaves != "base":
        model.llm = method.restore(model.llm, _trained(folder / "trained.safetensors"))
    return RecomposeRun(folder, config, model.eval(), processor, results)


def _trained(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"weights {str(path)!r} are missing or damaged ({error}): train again.") from error
