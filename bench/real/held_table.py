"""Markdown of what no task of a run can ask and of questions beside facts, without a signal and with one in two places.

Note:
    Seeds together; "–" where a run did not ask. Nats behind a signal are of the second half of each text.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairalign.evaluate.intervals import wilson
from real.beyond import HOWS
from real.table import held

Record = Mapping[str, Any]
PLACES = {"without": "without", "signal in front": "before", "signal behind": "behind"}
HEAD = ("arm", "signal", "yes or no", "compared", "likeliest name", "two turns", "one word", "a sentence", "nats",
        "nats, second half")  # fmt: skip


def held_table(records: Mapping[str, Sequence[Record]]) -> str:
    """A row for every arm and place of a signal."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for arm, found in records.items():
        ran = [one for one in found if "beyond" in one]
        lines += [f"| {' | '.join((arm, how, *_cells(ran, how)))} |" for how in HOWS if ran]
    return "\n".join(lines)


def _cells(ran: Sequence[Record], how: str) -> Iterator[str]:
    for task in ("yes or no", "compared"):
        told = [one["results"] for one in ran if task in one["results"]["after"]["held_out"]]
        yield _pooled([score for one in told if (score := held(one, task, PLACES[how]))])
    said = [one["beyond"][how] for one in ran]
    for name in ("likeliest name", "two turns"):
        yield _pooled([one[name] for one in said])
    for form in ("word", "sentence"):
        yield _pooled([one["form"][form] for one in said])
    for part in ("value", "second half"):
        yield f"{statistics.mean(one['text, nats'][part] for one in said):.3f}"


def _pooled(scores: Sequence[Record]) -> str:
    if not scores:
        return "–"
    score = wilson(sum(round(one["value"] * one["n"]) for one in scores), sum(one["n"] for one in scores))
    return f"{score.value:.2f} ({score.low:.2f} to {score.high:.2f}, n {score.n})"
