"""`align_pairs`: one run of stage one, from a configuration to a folder that can be evaluated, resumed and shipped.

A run folder holds identity.json, config.yaml, versions.json, metrics.jsonl, last.ckpt (to resume), the plugins and,
when done, model.safetensors.

Note:
    Calling it again on the same folder resumes, or returns the finished run; a folder whose run was made from anything
    else is refused (`pairalign.runs.folder`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pairalign.align.captions import caption_notes
from pairalign.align.check import check_edges, check_folders
from pairalign.align.dataset import DatasetSource, PairDataset, SideSource
from pairalign.align.identity import align_identity
from pairalign.align.latents import AnchorHead
from pairalign.align.losses import check_loss
from pairalign.align.metrics import read_metrics as read_metrics
from pairalign.align.modality import read_run
from pairalign.align.model import PairAligner, build_aligner
from pairalign.align.precision import check_trainer
from pairalign.align.sources import EdgeSource, cache_home, pools_of, recorded_of
from pairalign.align.store import check_shapes, load_weights, save_weights, start_encoders
from pairalign.align.strategy import check_strategy
from pairalign.core.config import AlignConfig
from pairalign.core.earlier import earlier
from pairalign.core.errors import DataError
from pairalign.data.graph import edge_name
from pairalign.data.index import load_index
from pairalign.data.remote.cache import use_cache
from pairalign.hub.place import find_run
from pairalign.processes.launch import launch
from pairalign.runs.checkpoint import read_checkpoint
from pairalign.runs.claim import Claim, claim
from pairalign.runs.folder import CHECKPOINT, RunFolder
from pairalign.runs.identity import GONE
from pairalign.runs.plugins import load_plugins
from pairalign.runtime import DeviceLike, Runtime, find_device

if TYPE_CHECKING:
    from pairalign.align.extras import Extras


@dataclass(frozen=True)
class AlignRun:
    """A finished (or stopped) run: its folder, its configuration and the aligner in evaluation mode, on its device.

    finished: when it had finished, if it had before and nothing was trained now.
    """

    folder: Path
    config: AlignConfig
    aligner: PairAligner
    finished: str | None = None

    def embed(
        self, modality: str, samples: Any, *, toward: str | None = None, recorded: Mapping[str, Any] | None = None
    ) -> torch.Tensor:
        """Unit vector (D,) of one raw sample, or (N, D) of a list of them, on the CPU.

        samples: an array, a picture, a text, or the path of a file. toward: another modality whose vectors these are
        compared with, by cosine: then in the dimensions that the pairs between them share; None for all dimensions.
        recorded: what a shard's index would say of the sample, such as {"up": "+z"} or {"sensor": "digit"}.
        Raise `ConfigError` for an unknown modality, `DataError` for a file that cannot be read, and `SignalError` for a
        sample that the encoder does not take.
        """
        from pairalign.evaluate.raw import embed

        return embed(self.aligner, modality, samples, toward=toward, recorded=recorded)

    def classify(
        self,
        modality: str,
        samples: Any,
        words: Sequence[str],
        *,
        templates: str | Sequence[str] | None = None,
        text: str | None = None,
        recorded: Mapping[str, Any] | None = None,
    ) -> dict[str, float] | list[dict[str, float]]:
        """Probability by word of one raw sample, or a list of such of a list of samples; they sum to 1 over `words`.

        templates: what the words are put into, see `pairalign.evaluate.zero_shot`; default those of the modality. text:
        which text modality reads them, where there are several. Others as `embed`, with its errors; `ConfigError` where
        no pairs join the modality to a text.
        """
        from pairalign.evaluate.raw import classify

        how: dict[str, Any] = {"templates": templates, "text": text, "recorded": recorded}
        return classify(self.aligner, modality, samples, words, **how)


def align_pairs(config: AlignConfig, *, progress: bool = True, fresh: bool = False) -> AlignRun:
    """Train stage one, go on where an interrupted run stopped, or return the finished one.

    Args:
        config: see `load_config`.
        progress: show a bar, and say what is done.
        fresh: check everything, set aside what a run wrote into `out` as `OUT.old-N`, and start over.

    Returns:
        The run; its `finished` says when it had finished, if it had before.

    Raises:
        IdentityError: where the run in `out` was made from other settings, shards, code or weights.
        PairalignError: before training starts where something does not fit, as `ConfigError`, `GraphError`,
            `DataError`, `SignalError`, `CacheError`, `CheckpointError` or `StorageError`.
        KeyboardInterrupt: after writing a checkpoint, when it was stopped.
    """
    check_strategy(config.train.strategy)
    check_folders(config)
    _check_loss(config)
    folder, work = Path(config.out), partial(_align, config, progress=progress, fresh=fresh)
    return launch(config.train, work, checkpoint=folder / "last.ckpt", reload=partial(load_aligned, folder))


def _check_loss(config: AlignConfig) -> None:
    """Before any process is started; a plugin that is not there is said where it is loaded."""
    named = RunFolder(Path(config.out), "align", AlignConfig).named_or_kept(config.plugins)
    if GONE not in load_plugins(named).values():
        check_loss(config.loss.contrastive)


def _align(config: AlignConfig, runtime: Runtime, *, progress: bool, fresh: bool) -> AlignRun:
    check_trainer(config.train, runtime.device)
    use_cache(config.data.cache, config.data.cache_gb)
    with claim("align", config, align_identity, runtime, fresh=fresh) as mine:
        if mine.finished is None:
            return _train(mine, runtime, progress=progress and runtime.main)
        known = load_aligned(mine.folder.path, runtime.device, plugins=mine.config.plugins)
        return replace(known, finished=mine.finished)


def _train(mine: Claim[AlignConfig], runtime: Runtime, *, progress: bool) -> AlignRun:
    from pairalign.align.extras import build_extras

    config, path = mine.config, mine.folder.path
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    extras = build_extras(config)
    torch.manual_seed(config.seed)
    aligner = build_aligner(config).to(runtime.device)
    check_edges(config, aligner)
    last = path / CHECKPOINT
    resume = read_checkpoint(last, config, runtime.world) if last.exists() and not mine.fresh else None
    if resume is None:
        start_encoders(config, aligner)
    mine.begin()
    datasets = build_datasets(config, aligner, runtime, progress=progress)
    _fit(config, aligner, datasets, resume, runtime, progress, extras)
    keep = config.train.keep_checkpoint
    runtime.main_only(lambda: mine.folder.finish(lambda: save_weights(path, aligner), keep_checkpoint=keep))
    return AlignRun(path, config, aligner.eval())


def load_aligned(folder: str | Path, device: DeviceLike = "cpu", *, plugins: Sequence[str | Path] = ()) -> AlignRun:
    """Load a finished run from its folder, wherever that is now, with the plugins that it keeps, or from the Hub.

    Args:
        folder: of the run, or `ORG/NAME[@REVISION]` on the Hub, see `pairalign.hub`.
        device: where the aligner goes, see `find_device`; what it is given has to be there too.
        plugins: files to take instead of those of the same name that the run keeps.

    Returns:
        The run, with the aligner in evaluation mode; `embed` and `classify` take raw samples.

    Raises:
        CheckpointError: if it is unfinished or damaged.
        IdentityError: if a plugin was edited after training.
    """
    folder = find_run(folder)
    run = RunFolder(folder, "align", AlignConfig)
    config = read_run(folder)
    config = replace(config, out=str(folder), plugins=run.to_load(config.plugins, plugins))
    aligner = build_aligner(config, partial(check_shapes, run.path))
    load_weights(run.path, aligner)
    aligner.to(find_device(device))
    return AlignRun(run.path, config, aligner.eval())


def open_run(run: str | Path | AlignRun, device: DeviceLike | None = None) -> AlignRun:
    """A run to measure: a folder's on `device` ("auto" if none is named), a loaded one moved there if one is named."""
    if not isinstance(run, AlignRun):
        return load_aligned(run, "auto" if device is None else device)
    if device is not None:
        run.aligner.to(find_device(device))
    return run


def build_datasets(
    config: AlignConfig, aligner: PairAligner, runtime: Runtime | None = None, *, progress: bool = True
) -> dict[str, dict[str, PairDataset]]:
    """`{"train": {edge: dataset}, "val": {edge: dataset}}`, every index checked, every anchor cache opened or built."""
    datasets: dict[str, dict[str, PairDataset]] = {"train": {}, "val": {}}
    device = runtime.device if runtime else None
    runtime = runtime or Runtime()
    notes = check_edges(config, aligner)
    if runtime.main:
        notes += caption_notes(config, aligner)
        print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    made: dict[object, SideSource] = {}  # pools with a source in common share what is encoded or preprocessed
    for pool in pools_of(config):
        for stage in datasets:
            sources = []
            for source in pool.sources:
                split = source.train if stage == "train" else source.val
                if split is None or (stage == "val" and split not in load_index(source.folder).every_split):
                    continue
                sides = {}
                for end in dict.fromkeys(end for edge in pool.edges for end in edge):
                    which = (end, source.folder.resolve(), split, source.sensor)
                    if which not in made:
                        made[which] = _side(config, aligner, end, source, split, device, progress)
                    sides[end] = made[which]
                sources.append(DatasetSource(source.folder, split, sides, source.name, source.weight))
            if sources:
                datasets[stage][pool.name] = PairDataset(
                    sources,
                    pool.edges,
                    config.train.batch_size,
                    seed=config.seed,
                    train=stage == "train",
                    shuffle=config.data.shuffle,
                    augment=config.data.augment,
                    rank=runtime.rank,
                    world_size=runtime.world,
                    temperature=pool.temperature,
                )
    _fit_anchors(aligner, datasets["train"].values())
    return datasets


def _fit_anchors(aligner: PairAligner, datasets: Iterable[PairDataset]) -> None:
    """Give every anchor head the frozen features of all training pairs, in all their cached views."""
    found: dict[str, list[torch.Tensor]] = {}
    for end, side in (
        (end, side) for dataset in datasets for source in dataset.sources for end, side in source.sides.items()
    ):
        if side.cache is not None and isinstance(aligner.heads[end], AnchorHead):
            found.setdefault(end, []).append(torch.from_numpy(side.cache.features.copy()).flatten(0, 1))
    for end, features in found.items():
        head = aligner.heads[end]
        assert isinstance(head, AnchorHead)
        head.fit(torch.cat(features))


def _side(
    config: AlignConfig,
    aligner: PairAligner,
    end: str,
    source: EdgeSource,
    split: str,
    device: torch.device | None,
    progress: bool,
) -> SideSource:
    from pairalign.align.cache import open_or_build

    modality, encoder, index = config.modalities[end], aligner.encoder(end), load_index(source.folder)
    field = modality.source or end
    recorded = recorded_of(source, index.modalities[field], end)
    if not encoder.frozen:
        pools = pools_of(config)
        sides = {(e, s.folder) for pool in pools for s in pool.sources for edge in pool.edges for e in edge}
        return SideSource(field, encoder, memory=int(config.data.memory * 2**30 / len(sides)), recorded=recorded)
    cache = open_or_build(
        cache_home(config, end, source, split),
        encoder,
        modality.options,
        source.folder,
        split,
        field,
        views=modality.views if split == source.train else 1,
        seed=config.seed,
        device=device,
        progress=progress,
        recorded=recorded,
    )
    return SideSource(field, encoder, cache, recorded=recorded)


def _fit(
    config: AlignConfig,
    aligner: PairAligner,
    datasets: dict[str, dict[str, PairDataset]],
    resume: dict[str, Any] | None,
    runtime: Runtime,
    progress: bool,
    extras: Extras,
) -> None:
    from lightning.pytorch.utilities.combined_loader import CombinedLoader

    from pairalign.align.task import StageOne
    from pairalign.align.trainer import build_trainer, fit, loader

    task = StageOne(aligner, config, runtime)
    how: dict[str, Any] = {"progress": progress, "validate": bool(datasets["val"]), "extras": extras}
    trainer, stop = build_trainer(config, runtime, **how)
    if resume is not None:
        task.resume(resume)
        for dataset in datasets["train"].values():
            dataset.start, dataset.places = task.batches, task.places[edge_name(dataset.edges[0])]
    train = CombinedLoader({name: loader(dataset, config) for name, dataset in datasets["train"].items()}, "min_size")
    val = CombinedLoader({name: loader(dataset, config) for name, dataset in datasets["val"].items()}, "max_size")
    path = Path(config.out) / "last.ckpt"
    fit(
        trainer,
        stop,
        task,
        path,
        train_dataloaders=train,
        val_dataloaders=val if datasets["val"] else None,
        ckpt_path=str(path) if resume is not None else None,
        weights_only=True,
    )
    aligner.to(runtime.device)  # some of Lightning's strategies leave it on the CPU
    if trainer.global_step < config.train.steps:
        raise DataError(
            f"training stopped at step {trainer.global_step} of {config.train.steps}: the pairs ran out. "
            "Check that every edge has samples: `pairalign data inspect`."
        )


build_feeds = earlier(build_datasets, "build_feeds")  # earlier name
