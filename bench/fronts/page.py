"""The table and the picture of `bench/front.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fronts.arms import SEEDS, Arm
from fronts.choice import Found, forgotten, forgotten_with_signal, learned
from pairalign.files import replacing


def table(found: Found, chosen: Mapping[str, float], seeds: int, arms: Sequence[Arm]) -> str:
    """One row an arm at its chosen rate: means over seeds with their range."""
    lines = [
        "| arm | trained | rate | seeds | learning | forgetting | signal before | signal behind | worst task | drift |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        of = [found.get((arm.name, chosen[arm.name], seed), {}) for seed in SEEDS[:seeds]]
        of = [result for result in of if "learning" in result]
        if not of:
            continue
        learning, lost = [r["learning"]["points"] for r in of], [r["forgetting"]["points"] for r in of]
        before, behind = (
            spread([r["with_signals"]["forgetting"][place]["points"] for r in of]) for place in ("before", "behind")
        )
        drift = [statistics.mean(t["drift"] for t in r["after"]["held_out"].values()) for r in of]
        worst = min((r["forgetting"] for r in of), key=lambda w: w["worst_points"])
        lines.append(
            f"| {arm.name} | {of[0]['trained']:,} | {chosen[arm.name]:g} | {len(of)} | {spread(learning)} | "
            f"{spread(lost)} | {before} | {behind} | {worst['worst']} {worst['worst_points']:+.1f} | "
            f"{statistics.mean(drift):.3f} |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean (lowest to highest)."""
    return f"{statistics.mean(values):+.1f} ({min(values):+.1f} to {max(values):+.1f})"


def rates_table(found: Found, arms: Sequence[Arm]) -> str:
    """One row an arm, what it learned and forgot at each rate with the first seed."""
    rates = sorted({rate for _, rate, _ in found})
    lines = [
        "| arm, seed 0: learning / forgetting / with a signal | " + " | ".join(f"{r:g}" for r in rates) + " |",
        "|---" * (1 + len(rates)) + "|",
    ]
    for arm in arms:
        cells = [_cell(found.get((arm.name, rate, SEEDS[0]))) for rate in rates]
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "–"
    if "learning" not in result:
        return "not finite"
    return f"{learned(result):.1f} / {forgotten(result):.1f} / {forgotten_with_signal(result):.1f}"


def picture(found: Found, chosen: Mapping[str, float], arms: Sequence[Arm], path: Path) -> None:
    """Every run as a dot, without and with a signal in the prompt, those at a chosen rate filled; a number at the mean
    of each arm, named beside."""
    from pairalign.data.draw import INK, MUTED, PALETTE, lay_out, new_figure

    figure, axes = new_figure(15.0, 6.4, 1, 3, width_ratios=[3, 3, 2])
    *fronts, names = axes.flat
    for n, arm in enumerate(arms):
        colour, marker = PALETTE[n % len(PALETTE)], "os^Dv"[n // len(PALETTE)]
        for ax, lost in zip(fronts, (forgotten, forgotten_with_signal), strict=True):
            best = []
            for (name, rate, _), result in found.items():
                if name == arm.name and "learning" in result:
                    at, filled = (lost(result), learned(result)), rate == chosen[name]
                    ax.scatter(*at, s=26 if filled else 12, color=colour, alpha=1 if filled else 0.35, marker=marker)
                    best += [at] if filled else []
            if best:
                middle = tuple(statistics.mean(values) for values in zip(*best, strict=True))
                ax.annotate(str(n + 1), middle, xytext=(4, 4), textcoords="offset points", fontsize=9, color=INK)
        y = 1 - (n + 0.5) / len(arms)
        names.scatter([0.03], [y], s=26, color=colour, marker=marker)
        names.text(0.1, y, f"{n + 1}  {arm.name}", fontsize=8, color=INK, va="center")
    names.axis("off")
    names.set(xlim=(0, 1), ylim=(0, 1))
    for ax, prompt in zip(fronts, ("without a touch in the prompt", "with one, before or behind"), strict=True):
        ax.set_xlabel(f"forgetting {prompt}, points", color=MUTED)
    fronts[0].set_xscale("symlog", linthresh=1.0)
    fronts[0].set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    fronts[0].set_xticks([], minor=True)
    fronts[0].set_ylabel("learning, points on the sensor's questions", color=MUTED)
    lay_out(figure)
    figure.patch.set_facecolor("white")
    figure.patch.set_alpha(1)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
