"""What a table of skills says: learning, forgetting, recovery, and how the answer bias goes with forgetting.

Pure functions. Scores are shares, 0 to 1; what comes out is points, 0 to 100. A table has a row for the base and one
for each stage, and a column for each skill in the order in which they are taught.

Note:
    With n questions a score moves by 100/n points for each, and every such move up is as much recovery.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pairalign.core.errors import DataError

Row = Sequence[float]
ROUNDING = 1e-6  # points


@dataclass(frozen=True)
class Recovery:
    """Points that were lost on the way, points that came back, and the share that did; `None` where none was lost."""

    lost: float
    back: float
    share: float | None


def learning(table: Sequence[Row]) -> list[float]:
    """Points that each skill is above the base right after its own stage: R[k, k] − R[0, k].

    Source: target learning of arXiv:2510.08564.
    """
    _check(table)
    return [100 * (table[k + 1][k] - table[0][k]) for k in range(len(table[0]))]


def forgetting(table: Sequence[Row]) -> list[float | None]:
    """Points that each skill has lost at the end since its own stage: R[k, k] − R[T, k]; `None` for the last one.

    Negative where it has gained. Source: minus the backward transfer of arXiv:1706.08840, skill by skill.
    """
    _check(table)
    last = len(table[0]) - 1
    return [None if k == last else 100 * (table[k + 1][k] - table[-1][k]) for k in range(last + 1)]


def held_out_forgetting(table: Sequence[Row]) -> list[float]:
    """Points of held-out accuracy lost since the base after each stage, a mean over tasks: mean(R[0] − R[t]).

    Source: held-out forgetting of arXiv:2510.08564, with the other sign.
    """
    return [100 * statistics.fmean(b - now for b, now in zip(table[0], row, strict=True)) for row in table[1:]]


def recovery(scores: Sequence[float]) -> Recovery:
    """What came back of what was lost, along one column from where it stood highest by right: a skill's own stage, or
    the base for a held-out task.

    With u_t = min(s_t, s_0): lost = Σ max(0, u_{t−1} − u_t), back = Σ max(0, u_t − u_{t−1}), so that lost − back is
    what is gone at the end, and what rises above the start is learning and no recovery. arXiv:2510.08564 describes the
    effect, and defines no number for it.
    """
    capped = [100 * min(score, scores[0]) for score in scores]
    moves = [now - before for before, now in itertools.pairwise(capped)]
    lost, back = sum(max(0.0, -move) for move in moves), sum(max(0.0, move) for move in moves)
    return Recovery(lost, back, back / lost if lost > ROUNDING else None)


def skill_recoveries(table: Sequence[Row]) -> list[Recovery | None]:
    """Of each skill since its own stage; `None` for the last one, after which nothing is taught."""
    _check(table)
    count = len(table[0])
    return [None if k == count - 1 else recovery([row[k] for row in table[k + 1 :]]) for k in range(count)]


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's r; `None` of fewer than three pairs, or where one side does not move."""
    if len(pairs) < 3:
        return None
    try:
        return statistics.correlation(*(list(side) for side in zip(*pairs, strict=True)))
    except statistics.StatisticsError:
        return None


def summary(skills: Sequence[Row], held_out: Sequence[Row]) -> dict[str, Any]:
    """All figures of one arm and seed, as plain values; of held-out tasks where there are some."""
    lost = [value for value in forgetting(skills) if value is not None]
    found: dict[str, Any] = {
        "learning": learning(skills),
        "forgetting": forgetting(skills),
        "recovery": [None if one is None else asdict(one) for one in skill_recoveries(skills)],
        "mean_learning": statistics.fmean(learning(skills)),
        "mean_forgetting": statistics.fmean(lost) if lost else None,
    }
    if held_out and held_out[0]:
        columns = [recovery([row[n] for row in held_out]) for n in range(len(held_out[0]))]
        found["held_out_forgetting"] = held_out_forgetting(held_out)
        found["held_out_recovery"] = [asdict(one) for one in columns]
    return found


def recovered(parts: Sequence[dict[str, Any] | None]) -> float | None:
    """The share of all lost points of several columns that came back; `None` where none was lost."""
    found = [part for part in parts if part is not None]
    lost = sum(part["lost"] for part in found)
    return sum(part["back"] for part in found) / lost if lost > ROUNDING else None


def _check(table: Sequence[Row]) -> None:
    """A row for the base and one for every column."""
    if not table or not table[0] or len(table) != len(table[0]) + 1 or any(len(row) != len(table[0]) for row in table):
        raise DataError(f"a table of {len(table)} rows: give one for the base, and one for each skill of every row.")
