"""Samples of one data set that another holds, too: what is trained on in one must not be tested on in another.

Compared are every "train" split with every other split of all other folders, exactly and nearly, as within a folder,
by modalities of one name and kind.

Note:
    Data sets of one pool often share their recordings, under other names and encoded anew; a file that was cropped or
    turned is not found (see `near`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from pairalign.data.audit.duplicates import find_across
from pairalign.data.audit.findings import Finding
from pairalign.data.audit.sketch import PROBED
from pairalign.data.audit.survey import Column, Survey


class Joined(Survey):
    """Several surveys as one, whose splits are called FOLDER:SPLIT; only modalities that all hold, of one kind."""

    parts: list[tuple[Survey, int, int]]  # of each split: its survey, its number there, and that one's first row here

    def fetch(self, rows: np.ndarray, modality: str) -> Iterator[Any]:
        """As `Survey.fetch`, from the folder that the rows are of."""
        if not len(rows):
            return iter(())
        survey, _, first = self.parts[int(self.split[rows[0]])]
        return survey.fetch(rows - first, modality)


def join(surveys: Sequence[Survey], names: Sequence[str]) -> Joined:
    """Put surveys together. names: of their folders, each another."""
    starts = np.cumsum([0, *(len(survey.keys) for survey in surveys)])[:-1].tolist()
    parts, splits, numbers = list[tuple[Survey, int, int]](), list[str](), list[np.ndarray]()
    for survey, name, start in zip(surveys, names, starts, strict=True):
        numbers.append(survey.split + len(splits))
        parts += [(survey, number, start) for number in range(len(survey.splits))]
        splits += [f"{name}:{split}" for split in survey.splits]
    shared = [m for m in surveys[0].columns if all(m in s.columns for s in surveys)]
    columns = {
        m: _column([s.columns[m] for s in surveys]) for m in shared if len({s.columns[m].kind for s in surveys}) == 1
    }
    joined = Joined(surveys[0].folder, surveys[0].index, tuple(splits), columns)
    joined.keys = [f"{name}/{key}" for survey, name in zip(surveys, names, strict=True) for key in survey.keys]
    joined.split, joined.parts = np.concatenate(numbers), parts
    return joined


def _column(columns: Sequence[Column]) -> Column:
    arrays = {
        name: np.concatenate([column.arrays[name] for column in columns])
        for name in columns[0].arrays
        if name not in PROBED and len({c.arrays[name].shape[1:] if name in c.arrays else None for c in columns}) == 1
    }
    ids, kinds = (np.concatenate([getattr(column, name) for column in columns]) for name in ("ids", "kinds"))
    return Column(columns[0].name, columns[0].info, ids, kinds, arrays)


def find(surveys: Sequence[Survey], names: Sequence[str], progress: bool = False) -> list[Finding]:
    """Values of one folder's held-out splits that another folder trains on."""
    joined = join(surveys, names)
    findings: list[Finding] = []
    for a, b in permutations(range(len(joined.splits)), 2):
        (one, first, _), (other, second, _) = joined.parts[a], joined.parts[b]
        if one is other or one.splits[first] != "train" or other.splits[second] == "train":
            continue
        for column in joined.columns.values():
            if column.kind != "text":
                findings += find_across(joined, column, a, b, progress)
    return findings
