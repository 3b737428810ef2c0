"""A result folder of lmms-eval: reported scores, and every sample as logged.

    OUT/<model>/<date>_<time>_results.json           results by task: {"metric,filter": value}
    OUT/<model>/<date>_<time>_samples_<task>.jsonl   one logged sample a line

Source: lmms_eval/loggers/evaluation_tracker.py of EvolvingLMMs-Lab/lmms-eval, main branch of August 2026. Where it
bites: of several runs in one folder the newest of each task counts; a run without --log_samples cannot be compared
sample by sample and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.core.limits import read_words
from pairalign.core.record import as_record, parse_record, read_record

ENDING = "_results.json"
FACTS = ("versions", "n-shot")


@dataclass(frozen=True)
class _Results:
    """What every results file has, as the tracker writes it: scores by task."""

    results: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class TaskLog:
    """reported: value by "metric,filter". facts: version and shots. samples: logged samples by `doc_id`."""

    task: str
    reported: Mapping[str, Any]
    facts: Mapping[str, Any]
    samples: Mapping[str, Mapping[str, Any]]
    path: Path

    def score(self, metric: str) -> float | None:
        """The reported value of a metric under whichever filter; `None` if there is none that is a number."""
        found = [value for name, value in self.reported.items() if name.partition(",")[0] == metric]
        return next((float(v) for v in found if isinstance(v, (int, float)) and not isinstance(v, bool)), None)


@dataclass(frozen=True)
class ResultFolder:
    """model: as lmms-eval was told. files: the newest results file of each task."""

    folder: Path
    model: str
    files: Mapping[str, Path]

    def read(self, task: str) -> TaskLog:
        """One task with its samples; raise `DataError` if it was not run, or ran without --log_samples."""
        if task not in self.files:
            raise DataError(
                f"{str(self.folder)!r} has no task {task!r}, but {', '.join(sorted(self.files))}: run it too."
            )
        path = self.files[task]
        results = _json(path)
        log = path.with_name(f"{path.name.removesuffix(ENDING)}_samples_{task}.jsonl")
        if not log.is_file():
            raise DataError(f"{str(path)!r} has no {log.name} beside it: run lmms-eval with --log_samples.")
        told = {name: results.get(name) for name in FACTS}
        facts = {name: found.get(task) if isinstance(found, dict) else None for name, found in told.items()}
        return TaskLog(task, results["results"][task], facts, _samples(log), path)


def open_results(folder: str | Path) -> ResultFolder:
    """Look through a folder, its folders included; raise `DataError` if it holds no results, or those of two models."""
    folder = Path(folder)
    paths = sorted(folder.rglob(f"*{ENDING}"), key=lambda path: path.name) if folder.is_dir() else []
    if not paths:
        raise DataError(f"{str(folder)!r} holds no *{ENDING}: give the --output_path of a finished lmms-eval run.")
    files: dict[str, Path] = {}
    models = set()
    for path in paths:
        results = _json(path)
        models.add(str(results.get("model_name") or path.parent.name))
        files |= dict.fromkeys(results["results"], path)
    if len(models) > 1:
        raise DataError(f"{str(folder)!r} holds results of {', '.join(sorted(models))}: give the folder of one model.")
    return ResultFolder(folder, models.pop(), files)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = read_record(path, dict[str, Any])
        as_record(values, _Results)
        return values
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is no results file of lmms-eval ({error}): run it again.") from error


def _samples(path: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    try:
        lines = read_words(path, "table").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}): run the task again.") from error
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = parse_record(line, dict[str, Any])
            key = str(record["doc_id"])
        except (ValueError, KeyError) as error:
            raise DataError(f"{str(path)!r}, line {n}: is no sample of lmms-eval ({error!r}): run it again.") from error
        if key in found:
            raise DataError(
                f"{str(path)!r}, line {n}: doc_id {key} is there twice, by a second filter or a second run into the "
                "same file: run the task again into an empty folder."
            )
        found[key] = record
    if not found:
        raise DataError(f"{str(path)!r} is empty: run the task again.")
    return found
