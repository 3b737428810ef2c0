"""A merged model measured: the questions of the run asked of it, beside the run's own answers, for results and card.

Merged weights act at every token. Where what was trained acts from its sensor's first token on, merging makes another
model than the one that was trained and measured, and only its own figures say what it does: on the run's questions, and
on held-out ones with a signal in the prompt that has nothing to do with them, the same as the run was asked with.

Note:
    The questions have to be there, and be those of the run; where they are not, that is said, and no figure of the run
    stands in their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import nn

from pairalign.core.errors import PairalignError
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.identity import task_hash
from pairalign.finetune.irrelevant import gather_signals
from pairalign.finetune.load import RecomposeRun
from pairalign.finetune.measure import ALONE, TaskScore, free_answers, measure_task
from pairalign.finetune.methods import create_method
from pairalign.finetune.questions import Questions
from pairalign.finetune.sources import task_sources
from pairalign.finetune.tasks import Task
from pairalign.finetune.three_figures import asked_again, cell, count_of, there
from pairalign.finetune.with_signals import WithSignals
from pairalign.runs.folder import RunFolder
from pairalign.sensors.model import SensorModel

PARTS = ("validation", "held_out")
WHO = ("run", "merged")
GONE, OTHERS = "its shards are not here", "its shards are not those of the run"


def measure_merged(run: RecomposeRun, llm: nn.Module) -> dict[str, Any]:
    """What `results.json` gets: "merged", scores by part and task of a run with `llm` in its model's place;
    "merged_with_signals", the same of held-out tasks with a signal in the prompt, as the run's own "with_signals" has
    them; and "not_measured", why by "part/task" where the questions cannot be asked."""
    model = SensorModel(llm)
    for name, sensor in run.model.sensors.items():
        model.add(name, sensor, run.model.placeholders[name])  # type: ignore[arg-type]
    found: dict[str, dict[str, TaskScore]] = {part: {} for part in PARTS if getattr(run.config, part)}
    held: list[Questions] = []
    missing: dict[str, str] = {}
    for part, name, config in _asked(run.config):
        try:
            if (reason := _changed(run, part, name, config)) is not None:
                missing[f"{part}/{name}"] = reason
                continue
            questions = _questions(run, name, config)
            found[part] |= {one.task.name: _measured(run, model, one) for one in questions}
            held += questions if part == "held_out" else []
        except (PairalignError, OSError) as error:
            warnings.warn(f"{part}/{name} is not measured with merged weights: {error}", stacklevel=3)
            missing[f"{part}/{name}"] = GONE
    again, reasons = _with_signals(run, model, held, found.get("held_out", {}))
    scores = {part: {name: score.to_dict() for name, score in tasks.items()} for part, tasks in found.items()}
    return {"merged": scores, "merged_with_signals": again, "not_measured": missing | reasons}


def _asked(config: RecomposeConfig) -> Iterator[tuple[str, str, TaskConfig]]:
    return ((part, name, task) for part in PARTS for name, task in getattr(config, part).items())


def _changed(run: RecomposeRun, part: str, name: str, config: TaskConfig) -> str | None:
    """Why a task's shards cannot be asked, told by their hash; `None` if they can."""
    known = RunFolder(run.folder, "recompose", RecomposeConfig).record().get("made_from", {})
    was, now = known.get(f"shards of {part}.{name}"), task_hash(config, run.config.root)
    return OTHERS if was is not None and was != now else None


def _questions(run: RecomposeRun, name: str, config: TaskConfig) -> list[Questions]:
    """Of a task, or of every source of its list."""
    collate, size = Collator(run.processor), run.config.train.measure_batch_size
    return [Questions(task, collate, size) for task in _tasks_of(run, name, config)]


def _tasks_of(run: RecomposeRun, name: str, config: TaskConfig) -> Iterator[Task]:
    for source in task_sources(name, config, run.config.root):
        task = Task(source.name, source.config, run.config.root, list(run.config.sensors))
        task.told = source
        task.check_signals(run.processor.sensors)
        yield task


def _measured(run: RecomposeRun, model: SensorModel, questions: Questions) -> TaskScore:
    score, tokens = measure_task(model, questions), run.config.train.measure_tokens
    return replace(score, contains=free_answers(model, questions, tokens)) if tokens else score


def _with_signals(
    run: RecomposeRun, model: SensorModel, held_out: list[Questions], after: dict[str, TaskScore]
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """What held-out tasks give with the signals that the run was asked with, and why not, where they cannot be put in;
    nothing of a run that was not asked so."""
    told = run.results.get("with_signals")
    if not told or not told["signals_from"] or not held_out:
        return None, {}
    try:
        shown, reason = _showing(run, told["signals_from"])
    except (PairalignError, OSError) as error:
        warnings.warn(f"held_out with a signal is not measured with merged weights: {error}", stacklevel=4)
        shown, reason = {}, GONE
    if reason is not None:
        return None, {"held_out with a signal": f"of the tasks that its signals are from, {reason}"}
    again = WithSignals(gather_signals(shown, run.processor, told["seed"]), told["limit"], "merge")
    base = {name: TaskScore.from_dict(task["base"]) for name, task in told["tasks"].items()}
    plain = create_method("full", {})  # which keeps no base beside it, either
    how: dict[str, Any] = {"tokens": run.config.train.measure_tokens, "runtime": ALONE, "settled": nullcontext}
    return again.measure(model, plain, held_out, base, {"held_out": after}, **how), {}


def _showing(run: RecomposeRun, came: dict[str, list[str]]) -> tuple[dict[str, list[Task]], str | None]:
    """The tasks, by part, that the run's signals are from, and why they are not those of the run."""
    named, found = set().union(*came.values()), dict[str, list[Task]]()
    for part in ("validation", "tasks"):
        for name, config in getattr(run.config, part).items():
            names = {f"{part}.{source.name}" for source in task_sources(name, config, run.config.root)}
            if named.isdisjoint(names):
                continue
            if (reason := _changed(run, part, name, config)) is not None:
                return {}, reason
            tasks = (task for task in _tasks_of(run, name, config) if f"{part}.{task.name}" in named)
            found.setdefault(part, []).extend(tasks)
    return found, None


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
    lines += list(_signalled(results))
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
    for name, was, now in _asked_so(results):
        for position, words in there(now).items():
            figures = f"run {was[position]['accuracy']:.3f}  merged {now[position]['accuracy']:.3f}"
            lines.append(f"held_out/{name:<24} {words}: {figures}  ({count_of(now)})")
    missing = results.get("not_measured", {})
    return lines + [f"{name}: not measured with merged weights: {reason}" for name, reason in missing.items()]


def _tasks(results: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for part, tasks in results.get("merged", {}).items():
        for name, score in tasks.items():
            yield part, name, score


def _asked_so(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Held-out tasks that were asked with a signal: what the run gave, and the merged model."""
    run, merged = asked_again(results), asked_again({"with_signals": results.get("merged_with_signals")})
    return ((name, run[name], now) for name, now in merged.items())


def _signalled(results: dict[str, Any]) -> Iterator[str]:
    """A table of them, with 95 % intervals."""
    for n, (name, was, now) in enumerate(_asked_so(results)):
        said = there(now).items()
        if not n:
            names = ["question", "n", "base, no signal", *(f"{who}, {words}" for _, words in said for who in WHO)]
            yield from ("", "The same held-out questions with a signal in the prompt that has nothing to do with them:")
            yield from ("", f"| {' | '.join(names)} |", "|---" * len(names) + "|")
        scores = [was["base"], *(one[position] for position, _ in said for one in (was, now))]
        for kind in now["base"]["kinds"]:
            yield _cells(f"{name}: {kind}", [score["kinds"][kind] for score in scores])
        if all(score.get("contains") for score in scores):
            yield _cells(f"{name}: its words in a free answer", [score["contains"] for score in scores])


def _cells(what: str, scores: list[dict[str, Any]]) -> str:
    return f"| {what} | {scores[-1]['n']} | {' | '.join(map(cell, scores))} |"


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
