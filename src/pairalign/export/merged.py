"""A merged model measured: the questions of the run asked of it, beside the run's own answers, for results and card.

Merged weights act at every token. Where what was trained acts from its sensor's first token on, merging makes another
model than the one that was trained and measured, and only its own figures say what it does.
Where it bites: the questions have to be there, and be those of the run; where they are not, that is said, and no figure
of the run stands in their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from pairalign.core.errors import PairalignError
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.identity import task_hash
from pairalign.finetune.load import RecomposeRun
from pairalign.finetune.measure import free_answers, measure_task
from pairalign.finetune.questions import Questions
from pairalign.finetune.sources import task_sources
from pairalign.finetune.tasks import Task
from pairalign.runs.folder import RunFolder
from pairalign.sensors.model import SensorModel

PARTS = ("validation", "held_out")
GONE, OTHERS = "its shards are not here", "its shards are not those of the run"


def measure_merged(run: RecomposeRun, llm: nn.Module) -> dict[str, Any]:
    """What `results.json` gets: "merged", scores by part and task of a run with `llm` in its model's place, and
    "not_measured", why by "part/task" where the questions cannot be asked."""
    model = SensorModel(llm)
    for name, sense in run.model.senses.items():
        model.add(name, sense, run.model.placeholders[name])  # type: ignore[arg-type]
    found: dict[str, dict[str, Any]] = {part: {} for part in PARTS if getattr(run.config, part)}
    missing: dict[str, str] = {}
    for part, name, config in _asked(run.config):
        try:
            if (reason := _changed(run, part, name, config)) is not None:
                missing[f"{part}/{name}"] = reason
                continue
            found[part] |= _measured(run, model, name, config)
        except (PairalignError, OSError) as error:
            warnings.warn(f"{part}/{name} is not measured with merged weights: {error}", stacklevel=3)
            missing[f"{part}/{name}"] = GONE
    return {"merged": found, "not_measured": missing}


def _asked(config: RecomposeConfig) -> Iterator[tuple[str, str, TaskConfig]]:
    return ((part, name, task) for part in PARTS for name, task in getattr(config, part).items())


def _changed(run: RecomposeRun, part: str, name: str, config: TaskConfig) -> str | None:
    """Why a task's shards cannot be asked, told by their hash; `None` if they can."""
    known = RunFolder(run.folder, "recompose", RecomposeConfig).record().get("made_from", {})
    was, now = known.get(f"shards of {part}.{name}"), task_hash(config, run.config.root)
    return OTHERS if was is not None and was != now else None


def _measured(run: RecomposeRun, model: SensorModel, name: str, config: TaskConfig) -> dict[str, dict[str, Any]]:
    found, train = {}, run.config.train
    for source in task_sources(name, config, run.config.root):
        task = Task(source.name, source.config, run.config.root, list(run.config.senses))
        task.told = source
        questions = Questions(task, Collator(run.processor), train.measure_batch_size)
        score = measure_task(model, questions)
        if train.measure_tokens:
            score = replace(score, contains=free_answers(model, questions, train.measure_tokens))
        found[task.name] = score.to_dict()
    return found


def merged_lines(results: dict[str, Any], *, behind: bool, others: tuple[str, ...] = ()) -> list[str]:
    """What a card says of the merged model, as Markdown. behind: whether what was trained acts from its sensor's first
    token on. others: sensors of packs that were merged in."""
    if behind:
        lines = [
            "What was trained acts from the sensor's first token on, and leaves every prompt without the sensor as the "
            "base answers it. **Merged weights act at every token**: the merged model is another model than the one "
            "that was trained and measured above."
        ]
    else:
        lines = ["What was trained acts at every token, as merged weights do; they are rounded to the base's dtype."]
    if others:
        lines += ["", f"Merged in: {', '.join(others)}, whose own questions were not asked."]
    rows = list(_rows(results))
    if rows:
        lines += ["", "| question | n | base | run | merged | interval |", "|---|---|---|---|---|---|", *rows]
    missing = results.get("not_measured", {})
    lines += [""] if missing else []
    lines += [f"- {name}: **not measured** with merged weights: {reason}." for name, reason in missing.items()]
    if not rows and not missing:
        lines += ["", "- **Not measured** with merged weights: the run has no validation or held_out tasks."]
    return lines


def merged_report(results: dict[str, Any]) -> list[str]:
    """The same for a terminal: a line for each task."""
    lines = []
    for part, name, now in _tasks(results):
        before, run = (_accuracy(results, when, part, name) for when in ("base", "after"))
        count = sum(kind["n"] for kind in now["kinds"].values())
        lines.append(f"{part}/{name:<24} base {before}  run {run}  merged {now['accuracy']:.3f}  (n {count})")
    missing = results.get("not_measured", {})
    return lines + [f"{name}: not measured with merged weights: {reason}" for name, reason in missing.items()]


def _tasks(results: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for part, tasks in results.get("merged", {}).items():
        for name, score in tasks.items():
            yield part, name, score


def _accuracy(results: dict[str, Any], when: str, part: str, name: str) -> str:
    score = results.get(when, {}).get(part, {}).get(name)
    return "–" if score is None else f"{score['accuracy']:.3f}"


def _rows(results: dict[str, Any]) -> Iterator[str]:
    for part, name, score in _tasks(results):
        earlier = [results.get(when, {}).get(part, {}).get(name, {}) for when in ("base", "after")]
        for kind, now in score["kinds"].items():
            yield _row(f"{part}, {name}: {kind}", [one.get("kinds", {}).get(kind) for one in earlier], now)
        if score.get("contains"):
            yield _row(
                f"{part}, {name}: its words in a free answer", [o.get("contains") for o in earlier], score["contains"]
            )


def _row(what: str, earlier: list[dict[str, Any] | None], now: dict[str, Any]) -> str:
    was = " | ".join("–" if one is None else f"{one['value']:.3f}" for one in earlier)
    return f"| {what} | {now['n']} | {was} | {now['value']:.3f} | {now['low']:.3f} to {now['high']:.3f} |"
