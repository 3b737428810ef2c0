"""Touch and Go: material, hard or soft, rough or smooth, by linear probe and zero-shot.

Source: Yang et al. 2022 (arXiv:2211.12498), the data and its three tasks; AnyTouch (arXiv:2502.12191), the linear-probe
figures.

Note:
    The official material split draws frames at random, so that a probe meets nearly every test recording in training;
    the same measurement by recording stands beside it. Roughness has its own official split set.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.convert.touch_and_go import MATERIALS
from pairalign.evaluate.clusters import clusters_of
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.probe import linear_probe
from pairalign.evaluate.protocols.classes import (
    check_templates,
    class_vectors,
    known_labels,
    rows_of,
    score_split,
    top_k,
)
from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Task, labelled, overlap, split_set_of, train_part
from pairalign.evaluate.zero_shot import TEMPLATES

CLASSES = {"material": MATERIALS, "hardness": ("hard", "soft"), "roughness": ("rough", "smooth")}
PUBLISHED = {"material": {"AnyTouch": 0.808}, "roughness": {"AnyTouch": 0.867}, "hardness": {"AnyTouch": 0.947}}
OWN_SPLIT_SET = {"roughness": "rough/"}
WAYS = ("probe", "zero-shot")
PARTS = ("shared", "private", "both")
LEAST = 5  # labelled samples of a split: fewer say nothing

Job = tuple[str, str, str, str]  # factor, train split, test split, kind of its split set


@register_protocol(
    "touch-and-go",
    title="material, hardness and roughness by linear probe and zero-shot",
    source="Touch and Go (arXiv:2211.12498); figures: AnyTouch (arXiv:2502.12191)",
    differs=(
        "the probe is L2-regularised logistic regression on this run's latents; AnyTouch trains a linear layer by "
        "gradient descent on its touch encoder's features.",
    ),
)
def measure(
    task: Task,
    touch: str = "touch",
    text: str | None = None,
    ways: list[str] | None = None,
    latents: str = "both",
    factors: list[str] | None = None,
    split: str | None = None,
    templates: list[str] | None = None,
) -> list[Measurement]:
    """touch, text: modalities of the run. ways: of "probe" and "zero-shot"; default both, zero-shot only if a text is
    aligned with touch. latents: what the probe reads, "shared", "private" or "both". factors: of "material",
    "hardness", "roughness". split: a test split, with its training part beside it; default the official ones and the
    leakage-free. templates: prompts instead of the built-in ones for touch.
    """
    touch = task.modality("touch", touch)
    if latents not in PARTS:
        raise ConfigError(f"setting latents={latents!r} is unknown.{did_you_mean(latents, PARTS)}")
    forms = check_templates(templates, TEMPLATES["touch"])
    asked, text = _ways(task, touch, ways, text)
    jobs = _jobs(task, _factors(factors), split, "probe" in asked)
    vectors: dict[str, Tensor] = {}
    found = []
    for factor, train, test, split_set in jobs:
        if "probe" in asked:
            found.append(_probe(task, touch, latents, factor, train, test, split_set))
        if text is not None:
            if factor not in vectors:
                vectors[factor] = class_vectors(task, text, touch, CLASSES[factor], forms)
            labels = labelled(task.meta(test), factor)
            score = score_split(task, test, touch, text, vectors[factor], CLASSES[factor], labels)
            found += top_k(task, score, f"{factor}, zero-shot", test, split_set, labels)
    return found


def _factors(asked: list[str] | None) -> list[str]:
    for factor in asked or ():
        if factor not in CLASSES:
            raise ConfigError(f"setting factors holds {factor!r}.{did_you_mean(str(factor), CLASSES)}")
    return list(asked or CLASSES)


def _ways(task: Task, touch: str, ways: list[str] | None, text: str | None) -> tuple[list[str], str | None]:
    """What to measure, and the text modality if zero-shot is in it."""
    for way in ways or ():
        if way not in WAYS:
            raise ConfigError(f"setting ways holds {way!r}.{did_you_mean(str(way), WAYS)}")
    aligner = task.run.aligner
    if ways is None and text is None:
        texts = [m for m in aligner.encoders if aligner.encoder(m).signal.kind == "text"]
        if not any(aligner.graph.path(m, touch) for m in texts):
            task.notes.append("no zero-shot: the run aligns no text with touch.")
            return ["probe"], None
    if ways is not None and "zero-shot" not in ways:
        return ways, None
    text = task.of_kind("text", "text", text, stored=False)
    task.joined(text, touch)
    task.notes.append("zero-shot prompts are pairalign's own for touch, not a published list.")
    return list(ways or WAYS), text


def _jobs(task: Task, factors: list[str], split: str | None, probe: bool) -> list[Job]:
    """Every factor on every split set that labels it, checked before anything is encoded."""
    jobs = []
    for factor in factors:
        part = official_test(factor)
        official = {part: "official"} if part in task.index.every_split else {}
        tests = task.splits(split) if split else official | _leakage_free(task)
        for test, split_set in tests.items():
            train = train_part(test)
            lack = _lack(task, factor, test, train if probe else None)
            if not lack:
                jobs.append((factor, train, test, split_set))
            elif split:
                raise DataError(f"pairs {str(task.folder)!r}, {factor}: {lack}: choose another split or factor.")
            else:
                task.notes.append(f"{factor} in {test} is left out: {lack}.")
    if not jobs:
        raise DataError(
            f"pairs {str(task.folder)!r} label none of {', '.join(factors)} in a test split and its training part: "
            "convert the data with `pairalign data convert touch-and-go`."
        )
    return jobs


def _lack(task: Task, factor: str, test: str, train: str | None) -> str:
    """What a factor lacks in a test split, or in the split `train` of a probe; "" for nothing. A label that is no class
    is an error."""
    for name in filter(None, (test, train)):
        if name not in task.index.every_split:
            return f"there is no split {name!r}"
        labels = labelled(task.meta(name), factor)
        if len(labels) < LEAST:
            return f"{len(labels)} samples of {name} are labelled, and {LEAST} are needed"
        known_labels(labels, CLASSES[factor], f"pairs {str(task.folder)!r}, {factor} of split {name!r}")
        if name == train and len(set(labels.values())) < 2:
            return f"all samples of {name} are {next(iter(labels.values()))!r}, and a probe needs two classes"
    return ""


def official_test(factor: str) -> str:
    """The test split on which a factor is published."""
    return f"{OWN_SPLIT_SET.get(factor, '')}test"


def _leakage_free(task: Task) -> dict[str, str]:
    """The test parts of the leakage-free split sets."""
    return {name: "leakage-free" for name in task.index.every_split if name.endswith("/test")
            and split_set_of(name) == "leakage-free"}  # fmt: skip


def _probe(task: Task, touch: str, part: str, factor: str, train: str, test: str, split_set: str) -> Measurement:
    """A linear probe from the training part of a split set to its test part."""
    x, y, train_keys = _labelled_rows(task, touch, part, factor, train)
    z, truth, keys = _labelled_rows(task, touch, part, factor, test)
    metas, trained = task.meta(test), clusters_of([task.meta(train)[key] for key in train_keys])
    whole = trained if trained and len(set(trained)) > 4 else None
    groups = task.clusters([metas[key] for key in keys])
    score = linear_probe(x, y, z, truth, groups=groups, train_groups=whole, seed=task.seed).accuracy
    published: Mapping[str, float] = PUBLISHED[factor] if test == official_test(factor) else {}
    seen = overlap(task, {key: metas[key] for key in keys}, train)
    return Measurement(f"{factor}, linear probe", "accuracy", score, test, split_set, train, published, seen)


def _labelled_rows(task: Task, touch: str, part: str, factor: str, split: str) -> tuple[Tensor, list[str], list[str]]:
    """Latents (n, D), labels and keys of the samples of a split that have the factor."""
    labels, pool = labelled(task.meta(split), factor), task.pool(split)
    rows = rows_of(pool.keys, labels, split)
    keys = [pool.keys[i] for i in rows]
    return latents_of(pool, touch, part)[rows], [str(labels[key]) for key in keys], keys


def latents_of(pool: EvalPool, modality: str, part: str) -> Tensor:
    """Shared latents (N, d_s), private ones (N, d_p), or both side by side."""
    latents = pool.latents[modality]
    return torch.cat([latents.shared, latents.private], 1) if part == "both" else getattr(latents, part)
