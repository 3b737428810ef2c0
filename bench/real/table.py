"""Markdown out of records: what was learned, what was lost without and with a touch in the prompt, and at what cost.

Note:
    Figures of several seeds are of all their answers together, with a 95 % Wilson interval; the same questions are
    asked of every seed, so that the interval is somewhat narrow. What has not run has no row.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairalign.evaluate.intervals import wilson

Record = Mapping[str, Any]
Rows = Sequence[Record]
HEAD = ("arm", "rate", "steps", "seeds", "felt before → after", "pictures", "facts", "touch in front: pictures",
        "facts", "touch behind: pictures", "facts", "text, nats", "CPU s", "GiB")  # fmt: skip


def table(records: Rows) -> str:
    """A row for every arm, rate and number of steps, its seeds together."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for one in records:
        groups.setdefault((one["arm"], one["rate"], one["steps"]), []).append(one)
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    return "\n".join([*lines, *(f"| {' | '.join(_row(key, found))} |" for key, found in groups.items())])


def _row(key: tuple[Any, ...], found: Rows) -> Iterator[str]:
    arm, rate, steps = key
    yield from (str(arm), f"{rate:g}" if rate else "–", str(steps), str(len(found)))
    ran = [one["results"] for one in found if "results" in one]
    if not ran:
        yield from [found[0]["failed"], *["–"] * (len(HEAD) - 5)]
        return
    before, after = ([_object(one, when) for one in ran] for when in ("base", "after"))
    yield f"{_pooled(before)} → {_pooled(after, True)}"
    for task in ("pictures", "facts"):
        before, after = ([held(one, task, how) for one in ran] for how in ("base", "without"))
        yield f"{_pooled(before)} → {_pooled(after)}"
    for place in ("before", "behind"):
        for task in ("pictures", "facts"):
            off = [held(one, task, place, off=True) for one in ran]
            base = _pooled(off) if all(off) else "not kept"
            yield f"{base} → {_pooled([held(one, task, place) for one in ran], True)}"
    said = [one["beyond"]["without"]["text, nats"]["value"] for one in found if "beyond" in one]
    yield f"{statistics.mean(said):.3f}" if said else "–"
    yield f"{statistics.mean(one['cpu_seconds'] for one in found):.0f}"
    yield f"{max(one['peak_gib'] for one in found):.1f}"


def _object(result: Record, when: str) -> Record:
    return next(iter(asked_first(result[when]["validation"])["kinds"].values()))


def asked_first(scores: Mapping[str, Any]) -> Record:
    """Which object it is, or what else was asked."""
    return scores.get("object") or next(iter(scores.values()))


def held(result: Record, task: str, how: str, off: bool = False) -> Record | None:
    """The score of a task: exact answers of pictures, the right word in a free answer of what is said in words."""
    told = ((result["with_signals"] or {}).get("tasks") or {}).get(task, {})
    plain = {"base": result["base"]["held_out"][task], "without": result["after"]["held_out"][task]}
    scores = (told.get("updates_off") or {}) if off else {**plain, **told}
    if how not in scores:
        return None
    return scores[how]["contains"] if task != "pictures" else next(iter(scores[how]["kinds"].values()))


def _pooled(scores: Sequence[Record | None], interval: bool = False) -> str:
    found = [one for one in scores if one is not None]
    if not found:
        return "–"
    hits, n = sum(round(one["value"] * one["n"]) for one in found), sum(one["n"] for one in found)
    score = wilson(hits, n)
    return f"{score.value:.2f} ({score.low:.2f} to {score.high:.2f}, n {n})" if interval else f"{score.value:.2f}"


def commonest(answers: Sequence[str]) -> tuple[str, float, float]:
    """The commonest answer with its share, and what guessing among all answers gives."""
    counts = Counter(answers)
    answer, count = counts.most_common(1)[0]
    return answer, count / len(answers), 1 / len(counts)


def kinds_table(records: Rows, asked: Mapping[str, Rows]) -> str:
    """What was learned by kind of question, beside chance and the commonest answer of the questions `asked`, by lesson
    rows with `label`, `answer` and `split`."""
    lines = ["| question | n | chance | commonest | arm | before | after |", f"|{'---|' * 7}"]
    for lesson, rows in asked.items():
        for kind in dict.fromkeys(row["label"] for row in rows):
            answers = [row["answer"] for row in rows if row["label"] == kind and row["split"] == "test"]
            answer, share, chance = commonest(answers)
            for arm, found in by_arm(records).items():
                scores = [[_kind(one["results"], when, lesson, kind) for one in found] for when in ("base", "after")]
                if any(scores[1]):
                    cells = (f"{lesson}: {kind}", len(answers), f"{chance:.2f}", f"{share:.2f} {answer}", arm,
                             _pooled(scores[0]), _pooled(scores[1], True))  # fmt: skip
                    lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def by_arm(records: Rows) -> dict[str, list[Record]]:
    """Those that have results, by arm."""
    found: dict[str, list[Record]] = {}
    for one in records:
        if "results" in one:
            found.setdefault(one["arm"], []).append(one)
    return found


def _kind(result: Record, when: str, lesson: str, kind: str) -> Record | None:
    """A task of one kind calls it by its own name, whatever the label says."""
    kinds = result[when]["validation"].get(lesson, {}).get("kinds", {})
    return kinds.get(kind) or (next(iter(kinds.values())) if len(kinds) == 1 else None)


def kept_share(result: Record) -> dict[str, float | None]:
    """By task, answers with a touch in the prompt after training / with updates off, both places together."""
    found = {}
    for task in ("pictures", "facts"):
        both = [(held(result, task, place), held(result, task, place, off=True)) for place in ("before", "behind")]
        off = sum(one["value"] for _, one in both if one is not None)
        found[task] = sum(one["value"] for one, _ in both if one is not None) / off if off else None
    return found
