"""Whether stage two worked: of every task what was learned, of every held-out set what was lost, in words.

Everything is read out of results.json.

Note:
    Chance of a task is what its commonest answers would get; runs of earlier versions did not write it down, and are
    judged against the base alone. What was lost is judged against no loss: a loss whose interval holds 0 is not told
    apart from none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairalign.evaluate.combined import difference, mean_of, points
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.verdicts import ABOVE, AT, BELOW, Verdict, place
from pairalign.finetune.gate import ROUNDING
from pairalign.finetune.three_figures import SAID, asked_again, count_of, sameness
from pairalign.finetune.with_signals import OFF, WITHOUT

if TYPE_CHECKING:
    from pairalign.evaluate.report import Report

Results = Mapping[str, Any]
LOST, GAINED, SAME, IDENTICAL = "lost", "gained", "not told apart from the base", "identical without the sensor"

CHANCE = (
    "Exact answers, mean over kinds of questions. Chance is what a kind's commonest right answer would get if it were "
    "given to all; where it was not measured, the base before training stands for it."
)
INTERVALS = (
    "Exact answers, mean over kinds. Intervals of 95 % take before and after as independent, which makes them wide "
    "rather than narrow."
)


def result_verdicts(results: Results) -> list[Verdict]:
    """Of the sensors' tasks, then of what must not be lost, then of the bounds that were set."""
    return [*_learned(results), *_held_out(results), *_bounded(results)]


def add_verdicts(report: Report, results: Results, title: str) -> None:
    """The first screen of a page on stage two."""
    verdicts = result_verdicts(results)
    report.answered(*results_headline(verdicts))
    tasks = [one for one in verdicts if one.kind == "task"]
    report.judged(f"{title}: the sensor's tasks", tasks, CHANCE)
    report.judged(f"{title}: what must not be lost", [one for one in verdicts if one.kind != "task"], INTERVALS)


def results_headline(verdicts: Sequence[Verdict]) -> tuple[str, bool | None]:
    """One sentence, and whether all is as it should be."""
    tasks = [one for one in verdicts if one.kind == "task"]
    won = sum(bool(one.good) for one in tasks)
    said = [f"{won} of {len(tasks)} tasks {'is' if won == 1 else 'are'} learned"] if tasks else []
    for kind in dict.fromkeys(one.kind for one in verdicts if one.kind.startswith("held out")):
        said.append(_kept_told(kind, [one for one in verdicts if one.kind == kind]))
    said += [f"{one.word} ({one.means.rstrip('.')})" for one in verdicts if one.kind == "bound"]
    good = True if verdicts and all(one.good for one in verdicts) else False if tasks and not won else None
    return (f"{'; '.join(said)}." if said else "Nothing was measured."), good


def _kept_told(kind: str, held: Sequence[Verdict]) -> str:
    """How the held-out sets of one kind did, with the points that they lost on average."""
    how = "without the sensor" if kind == "held out" else f"with {kind.removeprefix('held out, ')}"
    lost = sum(one.word == LOST for one in held)
    if lost:
        mean = sum(one.scores["before"].value - one.scores["after"].value for one in held) / len(held)
        return f"{how} {lost} of {len(held)} held-out sets have lost ({100 * mean:z.1f} points on average)"
    return IDENTICAL if all(one.word == IDENTICAL for one in held) else f"no loss shows {how}"


def task_score(measured: Mapping[str, Any]) -> Score:
    """Exact answers of a task: the mean over its kinds, which is its accuracy, with an interval."""
    return mean_of([Score(**score) for score in measured["kinds"].values()])


def _learned(results: Results) -> Iterator[Verdict]:
    """Learned is what is above chance and, where anything was trained, above the base as well."""
    trained = results.get("kept", {"step": 1})["step"] != 0
    for name, now in results["after"].get("validation", {}).items():
        before, after = (task_score(one) for one in (results["base"]["validation"][name], now))
        gain, word = points(difference(after, before)), place(after)
        against = place(gain) if trained else word
        good = {ABOVE: True, BELOW: False}.get(against or AT) if word in (None, ABOVE) else None
        means = f"{gain.value:+z.1f} points [{gain.low:+z.1f}, {gain.high:+z.1f}] since the base"
        means += ", not told apart from it" if place(gain) == AT else ""
        scores = {"before": before, "after": after}
        yield Verdict(name, "task", "exact answers", word or ("above the base" if good else SAME),
                      good, scores, f"{means}." if trained else "Nothing was trained.")  # fmt: skip


def _held_out(results: Results) -> Iterator[Verdict]:
    """Without the sensor in the prompt, and with a signal there that has nothing to do with the question."""
    again = asked_again(results)
    for name, now in results["after"].get("held_out", {}).items():
        told = again.get(name)
        if told is None:
            yield _kept(name, "held out", task_score(results["base"]["held_out"][name]), task_score(now))
            continue
        before = task_score(told["base"])
        bits = told["identical"]
        same = bool(bits and bits["compared"] and not bits["differ"])
        yield _kept(name, "held out", before, task_score(told[WITHOUT]), f"{sameness(told)}; {count_of(told)}", same)
        for position, words in SAID.items():
            if position not in told:
                continue
            off = (told[OFF] or {}).get(position)
            beside = f"with all updates off {task_score(off).value:.3f}" if off else ""
            yield _kept(name, f"held out, {words}", before, task_score(told[position]), beside)


def _kept(name: str, kind: str, before: Score, after: Score, beside: str = "", same: bool = False) -> Verdict:
    loss = points(difference(after, before), -100.0)
    scores = {"before": before, "after": after}
    if same:
        return Verdict(name, kind, "", IDENTICAL, True, scores, f"{beside}.")
    word = LOST if loss.low > 0 else GAINED if loss.high < 0 else SAME
    told = f"lost {loss.value:z.1f} points [{loss.low:z.1f}, {loss.high:z.1f}]"
    means = "; ".join(part for part in (told, beside) if part)
    good = True if word != LOST else False if kind == "held out" else None  # a bound says how much a signal may cost
    return Verdict(name, kind, "", word, good, scores, f"{means}.")


def _bounded(results: Results) -> Iterator[Verdict]:
    """What `max_forgetting` bounds: the mean over held-out tasks, as the gate counted it."""
    for one in results.get("gate") or []:
        if one["bound"] is not None:
            kept = one["lost"] <= one["bound"] + ROUNDING
            word = "within the bound" if kept else "beyond the bound"
            said = f"lost {one['lost']:z.1f} points {one['part']}, bound {one['bound']:g}."
            yield Verdict("all held-out tasks", "bound", "mean over tasks", word, kept, {}, said)
