"""The page of a run of stage two: whether it learned and what it lost, then every kind of question, and the way there.

    pairalign recompose teach.yaml       # writes OUT/report.html
    write_page(run.folder, run.config, run.results)

Note:
    Everything is read out of results.json and the configuration, so that the page can be made again of any finished
    run, without its model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.core.secrets import hide
from pairalign.core.sources import sources_of
from pairalign.data.index import load_index
from pairalign.data.place import find_place
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.pictures import draw_lines
from pairalign.evaluate.report import Report
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.three_figures import SAID, asked_again, sameness
from pairalign.finetune.verdicts import Results, add_verdicts

PAGE = "report.html"
COSTS = (
    "Questions of the held-out sets once more: as they are, compared with the base logit by logit, and with a signal "
    "in the prompt that has nothing to do with them. It says identical only where every logit has all the base's bits."
)
_KINDS = "Share of exact answers, 95 % Wilson interval, chance; n questions each."


def write_page(folder: Path, config: RecomposeConfig, results: Results) -> Path:
    """Write the page of a finished run into its folder; its path.

    Raises:
        StorageError: where the folder cannot be written.
    """
    names = ", ".join(config.sensors)
    base = Path(config.base).name if Path(config.base).is_absolute() else hide(config.base)
    lead = f"{base} was taught to read {names}; what it could do before was asked again afterwards."
    report = Report(f"Stage two: {names}", lead, synthetic=_is_synthetic(config))
    add_verdicts(report, results, f"Method {config.method}")
    for name, value in _facts(config, results):
        report.fact(name, value)
    runs = {"after": results}
    questions = kind_rows(runs)
    if questions[1]:
        report.section("Every kind of question", _KINDS, unfolded=True).table(*questions)
    costs = cost_rows({config.method: results})
    if costs[1]:
        report.section("What the sensor costs", COSTS)
        report.table(*costs, caption="Exact answers, mean over kinds; in brackets with updates off.")
    add_lines(report, {config.method: results})
    asked = results.get("asked") or {}
    if asked:
        report.section("What was asked", "The first question of each task, as the model reads it.")
        report.table(["task", "question"], [[name, one["prompt"]] for name, one in asked.items()])
    return report.write(folder / PAGE)


def _facts(config: RecomposeConfig, results: Results) -> list[tuple[str, Any]]:
    """The strip under the verdicts."""
    kept = results.get("kept") or {}
    found = [("method", config.method), ("seed", config.seed), ("steps", config.train.steps)]
    found += [("kept of step", kept["step"])] if "step" in kept else []
    found += [("weights trained", f"{results['trained']:,}")] if "trained" in results else []
    return [*found, ("rate", f"{config.train.lr:g}"), ("batch", config.train.batch_size)]


def _is_synthetic(config: RecomposeConfig) -> bool:
    """Whether a program drew what was measured, as far as its shards are still there to say so."""
    for part in (config.validation, config.held_out):
        for source in (one for task in part.values() for one in sources_of(task.shards)):
            try:
                if load_index(find_place(source.path, config.root)).synthetic:
                    return True
            except (DataError, OSError):  # moved since
                continue
    return False


def add_lines(report: Report, runs: Mapping[str, Results]) -> None:
    """Sections on training: figures of the held-out tasks along it, of every run that was measured on the way."""
    shown = {
        title: lines
        for name, title in (("accuracy", "held-out accuracy"), ("mass", "probability of answer words"))
        if (lines := drift_lines(runs, name))
    }
    if shown:
        report.section(
            "Drift along training", "Held-out accuracy, and the probability of the sensors' answer words there."
        )
    for title, lines in shown.items():
        told = "; ".join(f"{name}: {line[0][1]:.3f}, at the end {line[-1][1]:.3f}" for name, line in lines.items())
        report.picture(draw_lines({title: lines}, limits=(0, 1.05)), f"{title}; 0 is the base.", f"{told}.")


def kind_rows(runs: Mapping[str, Results]) -> tuple[list[str], list[list[Any]]]:
    """A row for every kind of question, a column for the base and every run."""
    base = next(iter(runs.values()))["base"]
    rows: list[list[Any]] = []
    for part in ("validation", "held_out"):
        for task, measured in base.get(part, {}).items():
            for kind, value in measured["kinds"].items():
                cells = [results["after"][part][task]["kinds"][kind] for results in runs.values()]
                rows.append(
                    [
                        f"{task}: {kind.partition('.')[2] or kind}",
                        value["n"],
                        *(Score(**score) for score in (value, *cells)),
                    ]
                )
    return ["question", "n", "base", *runs], rows


def cost_rows(runs: Mapping[str, Results]) -> tuple[list[str], list[list[Any]]]:
    """A row for every held-out task and run: before, after, how far that is the base's, and with a signal there."""
    rows: list[list[Any]] = []
    for name, results in runs.items():
        for task, told in asked_again(results).items():
            off = told["updates_off"] or {}
            cells = [_cell(told.get(position), off.get(position)) for position in SAID]
            scores = [told[when]["accuracy"] for when in ("base", "without")]
            rows.append([f"{task}, {name}", told["n"], *scores, sameness(told), *cells])
    return ["question, method", "n", "before", "after", "without the sensor", *SAID.values()], rows


def _cell(told: Mapping[str, Any] | None, off: Mapping[str, Any] | None) -> str:
    """Accuracy with a signal in one place, and in brackets with updates off."""
    if told is None:
        return "–"
    return f"{told['accuracy']:.3f}" + (f" ({off['accuracy']:.3f})" if off else "")


def drift_lines(runs: Mapping[str, Results], name: str) -> dict[str, list[tuple[float, float]]]:
    """By run the mean over held-out tasks of one figure along training, where it was measured more than once."""
    found = {
        method: [
            (line["step"], sum(values) / len(values))
            for line in results.get("history", ())
            if (values := _values(line, name))
        ]
        for method, results in runs.items()
    }
    return {method: line for method, line in found.items() if len({step for step, _ in line}) > 1}


def _values(line: Mapping[str, float], name: str) -> Sequence[float]:
    """One figure of every held-out task; a task's name may have parts, a figure's name has one."""
    return [value for key, value in line.items() if key.startswith("held_out/") and key.rpartition("/")[2] == name]
