"""Every file of a run folder of either stage, and the caches beside it, as those who load a run read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzzing.change import (
    Change,
    bytes_changed,
    json_changed,
    lines_changed,
    safetensors_changed,
    yaml_changed,
    zip_changed,
)
from fuzzing.readers import Door
from pairalign.align.cache import AnchorCache
from pairalign.align.metrics import forget_after, read_metrics
from pairalign.align.modality import load_modality, read_run, read_scales
from pairalign.align.model import build_aligner
from pairalign.align.run import load_aligned
from pairalign.align.store import save_weights, start_encoders
from pairalign.core.config import AlignConfig, load_config, to_dict
from pairalign.runs.checkpoint import read_checkpoint
from pairalign.runs.folder import RunFolder
from pairalign.runs.identity import Identity

SIDE = {"encoder": "touch_cnn", "options": {"size": 16, "channels": 3, "width": 8}}
LINES = b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25, "val": 1.0}\n'


def make_run(out: Path) -> AlignConfig:
    """A finished run of stage one that nobody trained."""
    told = {"modalities": {"touch": SIDE, "image": SIDE}, "edges": [{"between": ["image", "touch"], "shards": "x"}]}
    sizes = {"latent": {"shared": 6, "private": 4, "hidden": 0}, "train": {"accelerator": "cpu"}}
    config = load_config(AlignConfig, {**told, **sizes, "out": str(out)})
    folder = RunFolder(out, "align", AlignConfig)
    aligner = build_aligner(config)
    out.mkdir()
    folder.begin(config, Identity(to_dict(config), {"shards of edge image~touch": "0" * 64}), fresh=False)
    folder.finish(lambda: save_weights(out, aligner), keep_checkpoint=True)
    (out / "metrics.jsonl").write_bytes(LINES)
    return config


def _doors(
    folder: Path, changes: dict[str, Change], reads: dict[str, Callable[[], object]], common: Callable[[], object]
) -> dict[str, Door]:
    """A door for each file of a folder: damaged, read, and made whole again."""

    def door(name: str) -> Door:
        whole, path = (folder / name).read_bytes(), folder / name

        def read(data: bytes) -> None:
            path.write_bytes(data)
            try:
                reads.get(name, common)()
            finally:
                path.write_bytes(whole)

        return Door([whole], read, changes[name])

    return {name: door(name) for name in changes}


def stage_one(folder: Path) -> dict[str, Door]:
    """A run of stage one: its settings, identity, weights, metrics and checkpoint."""
    out = Path("run")  # relative to the folder, where the process is
    config = make_run(out)
    record = {"config": to_dict(config), "batches": 2, "ranks": [{"places": {}, "seen": {}, "bad": {}}]}
    torch.save({"pairalign": record, "state_dict": {"x": torch.zeros(2)}}, out / "last.ckpt")
    started = {"image": SIDE, "touch": {**SIDE, "start": str(out)}}
    other = load_config(AlignConfig, {**to_dict(config), "modalities": started, "out": "other"})
    aligner = build_aligner(other)

    def load() -> None:
        load_aligned(out)
        load_modality(out, "touch")
        read_scales(out)

    def weights() -> None:
        try:
            load()
        finally:
            start_encoders(other, aligner)

    def identity() -> None:
        run = RunFolder(out, "align", AlignConfig)
        run.owner()
        run.named_or_kept(())
        run.written()
        _ = run.finished and run.date
        run.is_done(Identity(to_dict(config), {"shards of edge image~touch": "0" * 64}), fresh=False)
        load()

    def settings() -> None:
        read_run(out)
        load()

    def metrics() -> None:
        read_metrics(out)
        forget_after(out / "metrics.jsonl", 1)
        read_metrics(out)

    changes: dict[str, Change] = {
        "config.yaml": yaml_changed,
        "identity.json": json_changed,
        "model.safetensors": safetensors_changed,
        "metrics.jsonl": lines_changed,
        "last.ckpt": zip_changed,
    }
    reads = {"config.yaml": settings, "identity.json": identity, "model.safetensors": weights, "metrics.jsonl": metrics}
    checkpoint: dict[str, Callable[[], object]] = {"last.ckpt": lambda: read_checkpoint(out / "last.ckpt", config, 1)}
    return _doors(out, changes, {**reads, **checkpoint}, load)


def stage_two(folder: Path) -> dict[str, Door]:
    """A run of stage two: its settings, results and bridge, and what evaluation left beside them."""
    from pairalign.demo.base import build_base, build_processor
    from pairalign.dormant.receipt import fingerprint_base
    from pairalign.finetune.assemble import assemble
    from pairalign.finetune.config import RecomposeConfig
    from pairalign.finetune.load import load_recomposed
    from pairalign.finetune.methods import create_method
    from pairalign.finetune.results import save_trained

    torch.manual_seed(0)
    base = build_base(width=32, layers=1, vision_layers=1)
    base.save_pretrained(folder / "base")
    build_processor().save_pretrained(folder / "base")
    make_run(Path("one"))  # relative to the folder, where the process is
    out = Path("run")
    told = {"base": "base", "root": ".", "sensors": {"touch": {"run": "one", "tokens": 2}}}
    task = {"shards": "x", "prompt": "{touch} is it soft?", "answer": "{answer}"}
    told |= {"tasks": {"touch": task}, "method": "bridge", "out": str(out), "train": {"accelerator": "cpu"}}
    config = load_config(RecomposeConfig, told)
    model, _ = assemble(config)
    run = RunFolder(out, "recompose", RecomposeConfig)
    out.mkdir()
    run.begin(config, Identity(to_dict(config), {}), fresh=False)
    save_trained(out, model, create_method("bridge", {}), fingerprint_base(model.llm))
    results = {"method": "bridge", "history": [{"step": 0}], "asked": {"touch": "?"}}
    (out / "results.json").write_text(json.dumps(results))
    (out / "evaluation").mkdir()
    (out / "evaluation" / "metrics.json").write_text(json.dumps({"run": "x", "pools": {}}))

    def measured() -> None:
        run.written()
        run.check_owner()

    changes: dict[str, Change] = {
        "config.yaml": yaml_changed,
        "results.json": json_changed,
        "bridge.safetensors": safetensors_changed,
        "evaluation/metrics.json": json_changed,
    }
    return _doors(out, changes, {"evaluation/metrics.json": measured}, lambda: load_recomposed(out))


def caches(folder: Path) -> dict[str, Door]:
    """The anchor cache's two files, what the base answered, and what a run has chosen."""
    from pairalign.finetune import chosen
    from pairalign.finetune.base_cache import BaseCache

    keys = ["a", "b"]
    record: dict[str, Any] = {"fingerprint": "x", "views": 1, "seed": 0, "split": "train", "keys": keys}
    record |= {"contents": {"a": [3, 4], "b": [5]}, "bad": {"c": "is damaged"}}
    (folder / "cache.json").write_text(json.dumps(record))
    np.save(folder / "features.npy", np.arange(16, dtype=np.float32).reshape(2, 2, 4))
    (folder / chosen.RECORD).write_text(json.dumps({"key": "x"}))

    def anchors() -> None:
        cache = AnchorCache.open(folder, "x", 4)
        for key in (*keys, "c"):
            for draw in (None, torch.Generator().manual_seed(0)):
                if key not in cache.bad:
                    torch.empty(4).copy_(cache.view(key, draw, 1))
            cache.content(key, 1, 0)

    answers = _base_answers(folder)

    def base() -> None:
        BaseCache(folder, "x").load(answers)

    changes: dict[str, Change] = {
        "cache.json": json_changed,
        "features.npy": bytes_changed,
        answers.name: safetensors_changed,
        chosen.RECORD: json_changed,
    }
    reads: dict[str, Callable[[], object]] = {answers.name: base, chosen.RECORD: lambda: chosen.is_kept(folder, "x")}
    return _doors(folder, changes, reads, anchors)


def _base_answers(folder: Path) -> Path:
    """What a base answered to two questions."""
    from pairalign.evaluate.forgetting import likeliest
    from pairalign.evaluate.intervals import Score
    from pairalign.finetune.base_answers import BaseAnswers
    from pairalign.finetune.base_cache import BaseCache
    from pairalign.finetune.base_measured import BaseMeasured
    from pairalign.finetune.measure import TaskScore

    torch.manual_seed(0)
    likely = likeliest(torch.randn(5, 300), 8)
    score = TaskScore({"colour": Score(0.5, 0.1, 0.9, 8, 0.2)}, 0.5, 1.25, contains=Score(0.5, 0.1, 0.9, 8, 0.2))
    told = BaseMeasured(score, BaseAnswers(likely, torch.tensor([0, 2, 5])), "now")
    path = folder / "base-x.safetensors"
    BaseCache(folder, "x").keep(path, "touch", told)
    return path


MAKES = {"stage one": stage_one, "stage two": stage_two, "caches": caches}
