"""Values of another kind than they were meant to be, as earlier versions packed them in silence: names of files as
captions, and numbers where the name of the modality promises a text.

Note:
    A caption is called the name of a file if it is one word that ends like one (`scan_03.ply`), so a data set about
    files would be, too; a number counts as a mistaken text by the name of its modality alone ("answer").
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.survey import Column, Survey
from pairalign.data.formats import FORMATS, REFUSED, extension_of

_SPELT = re.compile(r"\[\s*[-+0-9.][-+0-9.eE,\s]*\]")  # a list of numbers, as an array is printed
_NAME = re.compile(r"[^\s]+\.([A-Za-z][A-Za-z0-9]{1,6})\W{0,3}")
_CALLED = re.compile(  # as people call a text: also "caption2" and "text_en"
    r"(text|caption|description|instruction|prompt|question|answer|sentence|transcript|response|title)s?(_?\d+|_[a-z]{2})?"
)
_SHORT = 8  # numbers of a value that may have been an answer


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and nothing measured."""
    findings: list[Finding] = []
    for column in survey.columns.values():
        findings += [*_files(survey, column), *_spelt(survey, column), *_numbers(survey, column)]
    return findings, {}


def file_name(text: str) -> bool:
    """Whether a text is the name of a file: one word that ends in a format that is known, or in one behind a folder."""
    found = _NAME.fullmatch(text.strip())
    if found is None:
        return False
    known = extension_of(f"x.{found[1]}") in FORMATS.keys() | REFUSED.keys()
    return known or ("/" in text and not text.startswith(("http:", "https:", "www.")))


def _files(survey: Survey, column: Column) -> list[Finding]:
    rows = _rows(column, [number for number, text in column.captions.items() if file_name(text)])
    if not len(rows):
        return []
    first = next(text for text in column.captions.values() if file_name(text)).strip()
    message = (
        f"{len(rows)} texts of {column.name!r} are names of files ({first!r}): files of a type that was not read were "
        "packed as their names, and training learns the names. Pack again: the type is read now, or refused by name."
    )
    return [_finding(survey, column, message, rows)]


def _spelt(survey: Survey, column: Column) -> list[Finding]:
    rows = _rows(column, [number for number, text in column.captions.items() if _SPELT.fullmatch(text.strip())])
    if not len(rows):
        return []
    first = next(text for text in column.captions.values() if _SPELT.fullmatch(text.strip())).strip()
    message = (
        f"{len(rows)} texts of {column.name!r} are printed arrays ({first!r}): an answer 3 became {'[3.]'!r}. Pack "
        "again, with the column as text."
    )
    return [_finding(survey, column, message, rows)]


def _numbers(survey: Survey, column: Column) -> list[Finding]:
    """Short vectors in a modality that is called as texts are, or that holds texts besides."""
    vectors = np.flatnonzero(column.kinds == "vector")
    look = column.arrays.get("look")
    small = look is not None and look.shape[1] <= _SHORT
    if not len(vectors) or not small or not (_CALLED.fullmatch(column.name.lower()) or (column.kinds == "text").any()):
        return []
    message = (
        f"{len(vectors)} of {len(column.kinds)} values of {column.name!r} are numbers, and the name or the other "
        "values say that it is a text: a question's answer 3 would be taught as '[3.]'. Pack again, with the column as "
        f"text (`--kind {column.name}=text`)."
    )
    return [_finding(survey, column, message, vectors)]


def _rows(column: Column, ids: list[int]) -> np.ndarray:
    return np.flatnonzero(np.isin(column.ids, ids)) if ids else np.zeros(0, np.int64)


def _finding(survey: Survey, column: Column, message: str, rows: np.ndarray) -> Finding:
    figures = {"modality": column.name, "samples": len(rows)}
    return Finding("mistaken", "error", message, survey.names(rows), figures)
