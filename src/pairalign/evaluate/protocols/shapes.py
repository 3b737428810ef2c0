"""Zero-shot classification of point clouds, as ULIP, OpenShape and Uni3D report it: what the three benchmarks share.

Source: Xue et al. 2023 (ULIP, arXiv:2212.05171: 64 prompts a class), Liu et al. 2023 (OpenShape, arXiv:2305.10764),
Zhou et al. 2024 (Uni3D, arXiv:2310.06773).

Note:
    Their accuracy depends on the 64 exact strings of `templates_64.json`, on the names of the classes, and on which
    axis points up; the figures of a run whose encoder was trained with another axis up say nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pairalign.core.errors import DataError
from pairalign.evaluate.protocols.classes import check_templates, class_vectors, known_labels, score_split, top_k
from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Task, labelled

PAPERS = "ULIP (arXiv:2212.05171), ULIP-2 (arXiv:2305.08275), OpenShape (arXiv:2305.10764), Uni3D (arXiv:2310.06773)"
TEXT_SIDE = "the text side is this run's text tower and head; the papers' is a frozen CLIP text tower."
FACTORS = ("class", "category", "label")  # where a conversion may keep the class in a label of several parts


def templates_64() -> tuple[str, ...]:
    """The field's 64 prompts, each with {} for the class name."""
    text = files("pairalign.evaluate.protocols").joinpath("templates_64.json").read_text("utf-8")
    return tuple(json.loads(text)["templates"])


@dataclass(frozen=True)
class Benchmark:
    """Shapes with classes. expected: samples and classes of the published test set, for `differs`.

    classes: `None` takes all that the shards name. spell: from a stored label to a name in `classes`. whole: the
    published test set is the whole data set, so that the figures stand beside any split of its own, and not beside
    "test" alone.
    """

    expected: Mapping[str, int]
    published: Mapping[str, float]
    classes: Sequence[str] | None = None
    spell: Callable[[str], str] = str
    whole: bool = False


def register_benchmark(name: str, benchmark: Benchmark, title: str, source: str, differs: tuple[str, ...]) -> None:
    """Register the zero-shot protocol of a benchmark; `differs`: beside that of the text side."""

    @register_protocol(name, title=title, source=f"{source} as in {PAPERS}", differs=(TEXT_SIDE, *differs))
    def measure(
        task: Task,
        points: str | None = None,
        text: str | None = None,
        split: str | None = None,
        templates: list[str] | None = None,
    ) -> list[Measurement]:
        """points, text: modalities of the run, default the only one of each kind. split: default "test", and
        leakage-free ones beside it. templates: prompts instead of the 64.
        """
        return zero_shot_shapes(task, benchmark, points, text, split, templates)


def zero_shot_shapes(
    task: Task,
    benchmark: Benchmark,
    points: str | None,
    text: str | None,
    split: str | None,
    templates: list[str] | None,
) -> list[Measurement]:
    """Top-1, 3 and 5 of every test split; points, text, split, templates: the settings of the protocol."""
    points = task.of_kind("points", "points", points)
    text = task.of_kind("text", "text", text, stored=False)
    task.joined(text, points)
    forms = check_templates(templates, templates_64())
    splits = task.splits(split)
    stored = {each: _labels(task, each, benchmark.spell) for each in splits}
    for each in [each for each, split_set in splits.items() if split_set != "official" and len(stored[each]) < 2]:
        if split is None:
            task.notes.append(f"{each} is left out: {len(stored[each])} of its samples have a label.")
            del splits[each], stored[each]
    names = tuple(benchmark.classes or sorted({label for each in stored.values() for label in each.values()}))
    where = f"pairs {str(task.folder)!r}, split"
    labels = {split: known_labels(each, names, f"{where} {split!r}") for split, each in stored.items()}
    if len(names) < 2:
        raise DataError(f"pairs {str(task.folder)!r} name one class, {names[0]!r}: zero-shot needs at least two.")
    _note_size(task, splits, labels, names, benchmark.expected)
    if templates:
        task.notes.append(f"{len(forms)} prompts of your own instead of the 64 published ones.")
    vectors = class_vectors(task, text, points, names, forms)
    found = []
    for each, split_set in splits.items():
        score = score_split(task, each, points, text, vectors, names, labels[each])
        theirs = each == "test" or (benchmark.whole and split_set == "official")
        figures = benchmark.published if theirs else {}
        found += top_k(task, score, f"{points} by {text}", each, split_set, labels[each], figures)
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
    for split, split_set in splits.items():
        count = len(labels[split])
        if split_set == "official" and count != expected["samples"]:
            task.notes.append(f"{count} labelled samples in {split} instead of the published {expected['samples']}.")
