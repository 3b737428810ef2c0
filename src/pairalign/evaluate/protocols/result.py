"""The one form of every protocol's result: scores with n, chance and interval, beside the published figures.

Note:
    A published figure is a share between 0 and 1 here, as every score is, also where the paper prints per cent; and it
    was measured on other data whenever `differs` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.earlier import earlier_fields
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.report import text_table, write_metrics


@earlier_fields(division="split_set")
@dataclass(frozen=True)
class Measurement:
    """One score of one split.

    name: what is measured ("touch → text"). metric: "top-1", "accuracy", …, with its threshold where it has one.
    split: the test split. train_split: of a probe, else `None`. split_set: "official" for the shards' own splits and
        its authors' other ones, "leakage-free" for one that keeps objects or recordings whole.
    published: figure by system, shares between 0 and 1, for this very metric; empty where none is published.
    overlap: how much of the test split was trained on, see `task.overlap`.
    detail: written, and left out of the terminal's table.
    """

    name: str
    metric: str
    score: Score
    split: str
    split_set: str
    train_split: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    overlap: Mapping[str, Any] = field(default_factory=dict)
    detail: bool = False


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol measured of a run, and where it was written.

    n: samples measured by split. settings: every setting as used. differs: how this differs from the publication.
    """

    protocol: str
    title: str
    source: str
    run: str
    pairs: Mapping[str, Any]
    n: Mapping[str, int]
    settings: Mapping[str, Any]
    scores: Sequence[Measurement]
    differs: Sequence[str]
    left_out: Mapping[str, Any]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, as they are written."""
        fields = {name: value for name, value in vars(self).items() if name not in ("scores", "path")}
        return fields | {"scores": [vars(one) | {"division": one.split_set} for one in self.scores]}  # its earlier name

    def write(self) -> Path:
        """Write the JSON at once or not at all; returns its path."""
        return write_metrics(self.path, self.to_dict())

    @property
    def table(self) -> str:
        """The scores for a terminal, then what stands between them and the published figures."""
        rows = [
            [one.name, one.metric, one.split, one.split_set, one.score, one.score.n, _published(one.published)]
            for one in self.scores
            if not one.detail
        ]
        head = ["", "metric", "split", "split set", "score / chance", "n", "published"]
        lines = [text_table(head, rows, title=f"{self.protocol}: {self.title}")]
        if len(rows) < len(self.scores):
            lines.append(f"and {len(self.scores) - len(rows)} more scores in {self.path.name}")
        lines += dict.fromkeys(note for note in map(_warning, self.scores) if note)
        return "\n".join([*lines, *(f"differs: {text}" for text in self.differs)])


def _published(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items()) or "–"


def _warning(one: Measurement) -> str:
    samples, groups = one.overlap.get("samples"), one.overlap.get("groups")
    trained = ", ".join(one.overlap.get("trained_on", ()))
    if samples:
        return f"leakage: {samples} of the {one.score.n} samples of {one.split} were trained on ({trained})."
    if groups:
        return (
            f"leakage: {groups} of the {one.score.n} samples of {one.split} are of objects or recordings that were "
            f"trained on ({trained})."
        )
    return ""
