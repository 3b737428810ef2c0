"""Significance scores kept in a folder under the name of what they were made of, so that nobody scores a base twice.

The name is a hash of every weight and buffer of the base, of the calibration inputs to the last bit, and of the score
with its layers, options and seed.

Note:
    What has no such factors as `file` keeps takes 4 bytes a weight, and nothing is ever thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.provenance import Calibration, Seen, fingerprint, read_by, tasks_of
from pairalign.dormant.receipt import fingerprint_base
from pairalign.dormant.significance import Batch, check_score, load_scores, save_scores, score_model
from pairalign.dormant.significance.file import StoredScores
from pairalign.dormant.significance.scores import Linears, compares_tasks
from pairalign.files import sha256_text
from pairalign.runs.lock import alone


def cached_scores(
    folder: str | Path,
    score: str,
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    write: bool = True,
) -> Mapping[str, Tensor]:
    """What `score_model` gives, from `folder` where it is there, else made and, with `write`, kept; of runs that begin
    together one makes it, and the others wait."""
    check_score(score, options or {})
    told, samples = dict(options or {}), getattr(calibration, "samples", ())
    if calibration is not None:  # it may be read once only
        tasks = tasks_of(calibration)
        calibration = Calibration([dict(batch) for batch in calibration], samples, tasks)
    path = score_path(folder, score, model, linears, calibration, seed=seed, options=told)
    if path.exists():
        return load_scores(path)
    with alone(path, wait=True) if write else nullcontext():
        if path.exists():  # another run has made it in the meantime
            return load_scores(path)
        seen = None if calibration is None else Seen(calibration)
        scores = score_model(score, model, linears, seen, seed=seed, **told)
        return keep_scores(path, score, scores, linears, seen, seed=seed, options=told) if write else scores


def score_path(
    folder: str | Path,
    score: str,
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """The file of `cached_scores`, there or not."""
    batches = None if calibration is None else [dict(batch) for batch in calibration]
    parts = [score, list(linears), dict(options or {}), seed, fingerprint_base(model), batches]
    parts += [tasks_of(calibration)] if compares_tasks(score) else []
    return Path(folder) / f"{score}-{key_of(parts)}.safetensors"


def keep_scores(
    path: Path,
    score: str,
    scores: Mapping[str, Tensor],
    linears: Linears,
    seen: Seen | None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> StoredScores:
    """Write scores with what they were made of, and give what is stored. seen: the batches that they looked at."""
    about = {"method": score, "seed": seed, "options": dict(options or {}), "calibration": read_by(scores, seen)}
    save_scores(scores, linears, path, progress=False, **about)
    return load_scores(path)


def key_of(value: Any) -> str:
    """SHA-256 of a value of mappings, sequences, tensors and whatever says by `str` what it is."""
    return sha256_text(json.dumps(digest_of(value), sort_keys=True, default=str))


def digest_of(value: Any) -> Any:
    """A value of mappings, sequences and tensors, ready for JSON, with hashes in the place of tensors."""
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), fingerprint(value if value.dtype != torch.bool else value.int())]
    if isinstance(value, Mapping):
        return {str(name): digest_of(part) for name, part in value.items()}
    return [digest_of(part) for part in value] if isinstance(value, list | tuple) else value
