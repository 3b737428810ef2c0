"""The report of a sequence: a page, the same tables as Markdown, and its picture.

Note:
    Recovery is a share of what was lost, and of little it says little; the points stand beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairalign.evaluate.report import Report
from pairalign.files import replacing, write_text
from pairalign.finetune.sequence.figures import recovered
from pairalign.finetune.sequence.picture import draw_sequence
from pairalign.finetune.three_figures import SAID

Table = tuple[list[str], list[list[str]]]

EXPLAINED = (
    "Points of exact answers. Learning: a skill right after its stage, above the base. Forgetting: what it has lost at "
    "the end since its stage. Held-out: lost since the base, without a signal, at the worst stage and at the end, and "
    "at the end with a signal in the prompt that has nothing to do with the question. Came back: the share of all lost "
    "points that a later stage gave back. Means over seeds, in brackets the lowest and the highest."
)
BIAS = (
    "The answer-bias probe: points of probability that its words have more than in the base on held-out questions, "
    "along the right answers and along the model's own. r is Pearson's, with points of held-out accuracy lost, over "
    "all measurements."
)


def write_report(results: Mapping[str, Any], folder: Path) -> Path:
    """Write sequence.html, sequence.md and sequence.png; gives the page."""
    tables = {
        "What was learned, forgotten and came back": (arm_table(results), EXPLAINED),
        "Every skill after every stage": (skill_table(results), "Share of exact answers; skills are in order."),
        "Answer bias": (bias_table(results), BIAS),
    }
    names = ", then ".join(results["skills"])
    page = Report("Skills in sequence", f"One model is taught {names}, each from where the one before ended.")
    page.section("From stage to stage").picture(
        draw_sequence(results), "Means over seeds; lines from lowest to highest."
    )
    for heading, (table, text) in tables.items():
        page.section(heading, text).table(*table)
    picture = draw_sequence(results)
    picture.patch.set_facecolor("white")
    picture.patch.set_alpha(1)
    with replacing(folder / "sequence.png") as partial:
        picture.savefig(partial, format="png", dpi=110)
    parts = [f"# Skills in sequence\n\n{names}\n\n![](sequence.png)"]
    parts += [f"## {heading}\n\n{text}\n\n{markdown(*table)}" for heading, (table, text) in tables.items()]
    write_text(folder / "sequence.md", "\n\n".join(parts) + "\n")
    return page.write(folder / "sequence.html")


def arm_table(results: Mapping[str, Any]) -> Table:
    """A row an arm, of the seeds that have finished."""
    head = ["arm", "trained", "seeds", "learning", "forgetting", "skills came back", "held-out, worst"]
    head += ["held-out, end", "held-out came back", *(f"end, {words}" for words in SAID.values())]
    rows = []
    for arm, runs in _finished(results).items():
        of = [run["figures"] for run in runs]
        held = [figures["held_out_forgetting"] for figures in of if "held_out_forgetting" in figures]
        signals = [run["stages"][-1]["with_signals"] or {} for run in runs]
        row = [arm, f"{runs[0]['stages'][0]['trained']:,}", str(len(runs))]
        row += [_spread([f["mean_learning"] for f in of]), _spread([f["mean_forgetting"] for f in of])]
        row += [_share([recovered(f["recovery"]) for f in of])]
        row += [_spread([max(values) for values in held]), _spread([values[-1] for values in held])]
        row += [_share([recovered(f["held_out_recovery"]) for f in of if "held_out_recovery" in f])]
        row += [_spread([one[place]["points"] for one in signals if place in one]) for place in SAID]
        rows.append(row)
    return head, rows


def skill_table(results: Mapping[str, Any]) -> Table:
    """The table of each arm, a mean over its seeds."""
    head = ["arm", "after", *results["skills"], *(f"held-out: {name}" for name in _held_out(results))]
    rows = []
    for arm, runs in _finished(results).items():
        stages = [[run["base"], *run["stages"]] for run in runs]
        for name, of in zip(["(base)", *results["skills"]], zip(*stages, strict=True), strict=True):
            cells = [_mean([row["skills"][skill] for row in of]) for skill in results["skills"]]
            cells += [_mean([row["held_out"][task] for row in of]) for task in _held_out(results)]
            rows.append([arm, name, *cells])
    return head, rows


def bias_table(results: Mapping[str, Any]) -> Table:
    """Of each arm at its end, and r over all that was measured."""
    head = ["arm", "more along right answers", "more along its own", "r, right answers", "r, its own"]
    rows = []
    for arm, told in results["bias"]["correlation"].items():
        ends = [
            [p for p in results["bias"]["points"] if p["arm"] == arm and p["seed"] == seed] for seed in _seeds(results)
        ]
        last = [points[-1] for points in ends if points]
        more = [[p[probe] for p in last if p[probe] is not None] for probe in ("right", "own")]
        rows.append([arm, *map(_spread, more), *(_r(told[probe]) for probe in ("right", "own"))])
    return head, rows


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _finished(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in results["runs"]:
        if "figures" in run:
            found.setdefault(run["arm"], []).append(run)
    return found


def _held_out(results: Mapping[str, Any]) -> list[str]:
    return list(results["runs"][0]["base"]["held_out"])


def _seeds(results: Mapping[str, Any]) -> list[int]:
    return list(dict.fromkeys(run["seed"] for run in results["runs"]))


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):+.1f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):+.1f} to {max(known):+.1f})"


def _share(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * statistics.fmean(known):.0f} %" if known else "nothing was lost"


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}"


def _r(told: Mapping[str, Any]) -> str:
    return "–" if told["r"] is None else f"{told['r']:+.2f} (n {told['n']})"
