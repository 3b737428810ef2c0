"""Zero-shot classification over a fixed list of classes: the prompts' vectors once, then every split.

Source: Radford et al. 2021 (arXiv:2103.00020), the unit mean of the unit embeddings of a class's prompts.

Note:
    The classes are those of the benchmark, also where a split lacks some, or chance would be too high; and the class
    mean is over the classes that the split holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.measure import encode_texts
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Task, overlap
from pairalign.evaluate.zero_shot import ZeroShotScore, class_embeddings, classify


def class_vectors(
    task: Task, text: str, modality: str, classes: Sequence[str], templates: str | Sequence[str]
) -> Tensor:
    """Unit vectors (C, d_s) of the class names, in the dimensions that the path to `modality` carries."""
    with tqdm(desc="encode prompts", unit="prompt", disable=not task.progress) as bar:

        def encode(prompts: list[str]) -> Tensor:
            bar.update(len(prompts))
            return encode_texts(task.run.aligner, text, modality, prompts)

        return class_embeddings(encode, classes, templates)


def known_labels(labels: Mapping[str, Any], classes: Sequence[str], where: str, least: int = 2) -> dict[str, str]:
    """The labels by key; `DataError` for too few of them, and for one that is none of `classes`."""
    if len(labels) < least:
        raise DataError(
            f"{where}: {len(labels)} samples have a label: give at least {least}, with the class in `label`."
        )
    wrong = sorted({str(label) for label in labels.values()} - set(classes))
    if wrong:
        shown = ", ".join(map(repr, wrong[:3]))
        raise DataError(
            f"{where}: label {shown} is none of the {len(classes)} classes ({', '.join(classes[:5])}, …): "
            "convert the data with `pairalign data convert`, or correct the labels."
        )
    return {key: str(label) for key, label in labels.items()}


def score_split(
    task: Task,
    split: str,
    modality: str,
    text: str,
    vectors: Tensor,
    classes: Sequence[str],
    labels: Mapping[str, str],
    ks: Sequence[int] = (1, 3, 5),
) -> ZeroShotScore:
    """Classify the labelled samples of a split (keys of `labels`) against class vectors (C, d_s)."""
    pool = task.pool(split)
    rows = rows_of(pool.keys, labels, split)
    gate = task.run.aligner.path_gate(modality, text).detach().cpu()
    embeddings = (gate * pool.latents[modality].shared)[rows]
    keys = [pool.keys[i] for i in rows]
    metas = task.meta(split)
    place = {name: i for i, name in enumerate(classes)}
    groups = task.clusters([metas[key] for key in keys])
    truth = [place[labels[key]] for key in keys]
    return classify(embeddings, truth, vectors, classes, ks=ks, groups=groups, seed=task.seed)


def rows_of(keys: Sequence[str], labels: Mapping[str, Any], split: str) -> list[int]:
    """Rows of a pool that have a label; `DataError` if fewer than two were encoded."""
    rows = [i for i, key in enumerate(keys) if key in labels]
    if len(rows) < 2:
        raise DataError(f"split {split!r}: {len(rows)} labelled samples were encoded: raise `limit`, or mend the data.")
    return rows


def top_k(
    task: Task,
    found: ZeroShotScore,
    name: str,
    split: str,
    split_set: str,
    labels: Mapping[str, Any],
    published: Mapping[str, float] | None = None,
) -> list[Measurement]:
    """Top-k over all samples and as a mean over classes; the published figures stand beside overall top-1."""
    metas = task.meta(split)
    seen = overlap(task, {key: metas[key] for key in task.pool(split).keys if key in labels})
    scores = [(f"top-{k}", score) for k, score in found.overall.items()]
    scores += [(f"top-{k}, class mean", score) for k, score in found.class_mean.items()]
    return [
        Measurement(
            name,
            metric,
            score,
            split,
            split_set,
            published=(published or {}) if metric == "top-1" else {},
            overlap=seen,
            detail=not metric.startswith("top-1"),
        )
        for metric, score in scores
    ]


def check_templates(templates: list[str] | None, default: Sequence[str]) -> tuple[str, ...]:
    """The asked templates, or the default ones; each holds the class name once."""
    forms = tuple(templates or default)
    wrong = [form for form in forms if not isinstance(form, str) or form.count("{}") != 1]
    if wrong:
        raise ConfigError(f"templates: {wrong[0]!r} must be text that holds {{}} exactly once.")
    return forms
