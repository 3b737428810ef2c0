"""Zero-shot classification of point clouds, as ULIP, OpenShape and Uni3D report it: what the three benchmarks share.

Source: Xue et al. 2023 (ULIP, arXiv:2212.05171: 64 prompts a class), Liu et al. 2023 (OpenShape, arXiv:2305.10764),
Zhou et al. 2024 (Uni3D, arXiv:2310.06773). Where it bites: their accuracy depends on the 64 exact strings of
`templates_64.json`, on the names of the classes, and on which axis points up; the figures of a run whose encoder was
trained with another axis up say nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from pairalign.errors import DataError
from pairalign.evaluate.protocols.classes import check_templates, class_vectors, known_labels, score_split, top_k
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Task, labelled

PAPERS = "ULIP (arXiv:2212.05171), ULIP-2 (arXiv:2305.08275), OpenShape (arXiv:2305.10764), Uni3D (arXiv:2310.06773)"
FACTORS = ("class", "category", "label")  # where a conversion may keep the class in a label of several parts


def templates_64() -> tuple[str, ...]:
    """The field's 64 prompts, each with {} for the class name."""
    text = files("pairalign.evaluate.protocols").joinpath("templates_64.json").read_text("utf-8")
    return tuple(json.loads(text)["templates"])


def zero_shot_shapes(
    task: Task,
    *,
    classes: Sequence[str] | None,
    expected: Mapping[str, int],
    published: Mapping[str, float],
    points: str | None,
    text: str | None,
    split: str | None,
    templates: list[str] | None,
    spell: Callable[[str], str] = str,
    whole: bool = False,
) -> list[Measurement]:
    """Top-1, 3 and 5 of every test split.

    classes: of the benchmark; `None` takes all that the shards name. expected: samples and classes of the published
    test set ({"samples": 2468, "classes": 40}), for `differs`. spell: from a stored label to a name in `classes`.
    points, text, split, templates: the settings of the protocol. whole: the published test set is the whole data set,
        so that the figures stand beside any split of its own, and not beside "test" alone.
    """
    points = task.of_kind("points", "points", points)
    text = task.of_kind("text", "text", text, stored=False)
    task.joined(text, points)
    forms = check_templates(templates, templates_64())
    splits = task.splits(split)
    stored = {split: _labels(task, split, spell) for split in splits}
    names = tuple(classes or sorted({label for each in stored.values() for label in each.values()}))
    where = f"pairs {str(task.folder)!r}, split"
    labels = {split: known_labels(each, names, f"{where} {split!r}") for split, each in stored.items()}
    if len(names) < 2:
        raise DataError(f"pairs {str(task.folder)!r} name one class, {names[0]!r}: zero-shot needs at least two.")
    _note_size(task, splits, labels, names, expected)
    if templates:
        task.notes.append(f"{len(forms)} prompts of your own instead of the 64 published ones.")
    vectors = class_vectors(task, text, points, names, forms)
    found = []
    for each, division in splits.items():
        score = score_split(task, each, points, text, vectors, names, labels[each])
        figures = published if each == "test" or (whole and division == "official") else {}
        found += top_k(task, score, f"{points} by {text}", each, division, labels[each], figures)
    return found


def _labels(task: Task, split: str, spell: Callable[[str], str]) -> dict[str, Any]:
    """Class by key: the plain label, or the part of it that is the class."""
    metas = task.meta(split)
    found = labelled(metas, None)
    for factor in FACTORS:
        found = found or labelled(metas, factor)
    return {key: spell(str(label)) for key, label in found.items()}


def _note_size(
    task: Task,
    splits: Mapping[str, str],
    labels: Mapping[str, Mapping[str, str]],
    names: Sequence[str],
    expected: Mapping[str, int],
) -> None:
    """Say where the test set is not the published one."""
    if len(names) != expected["classes"]:
        task.notes.append(f"{len(names)} classes instead of {expected['classes']}: chance is higher.")
    for split, division in splits.items():
        count = len(labels[split])
        if division == "official" and count != expected["samples"]:
            task.notes.append(f"{count} labelled samples in {split} instead of the published {expected['samples']}.")
