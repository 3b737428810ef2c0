"""What is said of a held-out task: before; after, without the sensor; after, with a signal in the prompt.

Everything is read out of `results["with_signals"]`, of which runs of earlier versions have nothing.

Note:
    The word "identical" stands only where logits were compared and every one has all the base's bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pairalign.finetune.with_signals import OFF, WITHOUT

SAID = {"before": "a signal in front", "behind": "a signal behind"}
ALIKE = "the base's chat template writes both positions alike"


def asked_again(results: Mapping[str, Any]) -> dict[str, Any]:
    """By held-out task what was asked again; nothing where nothing was."""
    return dict((results.get("with_signals") or {}).get("tasks", {}))


def sameness(task: Mapping[str, Any]) -> str:
    """How far a task's answers without the sensor are the base's."""
    bits = task["identical"]
    if bits is None:
        return f"not compared with the base: {task['not_compared']}"
    if not bits["compared"] or bits["differ"]:
        return f"{bits['differ']:,} of {bits['compared']:,} answer logits are not the base's"
    return f"identical: all {bits['compared']:,} answer logits are the base's, bit for bit"


def lines_of(task: Mapping[str, Any]) -> Iterator[str]:
    """Three lines of a task, beneath its own."""
    yield f"without the sensor   {sameness(task)}"
    for position, words in there(task).items():
        now, off = task[position], (task[OFF] or {}).get(position)
        said = [f"{words:<20}", f"{now['accuracy']:.3f}{_off(off and off['accuracy'], '.3f')}"]
        if now.get("contains"):
            value = off and off["contains"]["value"]
            said.append(f" words in a free answer {now['contains']['value']:.3f}{_off(value, '.3f')}")
        yield f"{' '.join(said)}  ({count_of(task)}{f'; {ALIKE}' if task['alike'] else ''})"


def held_out_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Every held-out task with its three figures."""
    for name, task in asked_again(results).items():
        before, after = task["base"]["accuracy"], task[WITHOUT]["accuracy"]
        yield f"held_out/{name:<24} {before:.3f} → {after:.3f}  ({count_of(task)})"
        yield from (f"  {line}" for line in lines_of(task))


def there(found: Mapping[str, Any]) -> dict[str, str]:
    """The positions that a table has, each with what it is called: none where no task shows a sensor."""
    return {position: words for position, words in SAID.items() if position in found}


def _off(value: float | None, form: str) -> str:
    return "" if value is None else f" (updates off {value:{form}})"


def count_of(task: Mapping[str, Any]) -> str:
    """Of how many questions."""
    return f"n {task['n']}" if task["n"] == task["of"] else f"n {task['n']}, the first of {task['of']}"


def points_line(results: Mapping[str, Any]) -> str | None:
    """Forgetting with a signal in the prompt; `None` where it was not measured."""
    lost = (results.get("with_signals") or {}).get("forgetting", {})
    found = []
    for position, words in there(lost).items():
        off = lost[OFF] and lost[OFF][position]["points"]
        found.append(f"{words} {lost[position]['points']:+z.1f}{_off(off, '+z.1f')}")
    count = sum(task["n"] for task in asked_again(results).values())
    return f"{', '.join(found)} points  (n {count})" if found else None


def table_of(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and a row for every kind of question; intervals of 95 % (Wilson)."""
    names, rows = list[str](), list[list[str]]()
    for name, task in asked_again(results).items():
        columns = {"before training": task["base"], "after, without the sensor": task[WITHOUT]}
        columns |= {f"after, {words}": task[position] for position, words in there(task).items()}
        columns |= {f"{words}, updates off": task[OFF][p] for p, words in there(task).items() if task[OFF]}
        cells = {kind: [one["kinds"][kind] for one in columns.values()] for kind in task["base"]["kinds"]}
        if all(one.get("contains") for one in columns.values()):
            cells["its words in a free answer"] = [one["contains"] for one in columns.values()]
        names = ["question", "n", *columns]
        rows += [[f"{name}: {kind}", str(found[0]["n"]), *map(cell, found)] for kind, found in cells.items()]
    return names, rows


def cell(score: Mapping[str, Any]) -> str:
    """A score of a table, with its interval."""
    return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
