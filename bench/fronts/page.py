"""The table and the picture of `bench/front.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from fronts.arms import SEEDS, Arm
from fronts.choice import Found


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


def picture(found: Found, chosen: Mapping[str, float], arms: Sequence[Arm], path: Path) -> None:
    """Every run as a dot, those at a chosen rate filled; a number at the mean of each arm, named beside."""
    from pairalign.data.draw import INK, MUTED, PALETTE, lay_out, new_figure

    figure, axes = new_figure(11.0, 6.0, 1, 2, width_ratios=[3, 1])
    ax, names = axes.flat
    names.axis("off")
    for n, arm in enumerate(arms):
        colour, marker = PALETTE[n % len(PALETTE)], "os^D"[n // len(PALETTE)]
        best = []
        for (name, rate, _), result in found.items():
            if name == arm.name and "learning" in result:
                at = (max(result["forgetting"]["points"], 0.0), result["learning"]["points"])
                filled = rate == chosen[name]
                ax.scatter(*at, s=26 if filled else 12, color=colour, alpha=1 if filled else 0.35, marker=marker)
                best += [at] if filled else []
        if not best:
            continue
        middle = tuple(statistics.mean(values) for values in zip(*best, strict=True))
        ax.annotate(str(n + 1), middle, xytext=(4, 4), textcoords="offset points", fontsize=9, color=INK)
        y = 1 - (n + 0.5) / len(arms)
        names.scatter([0.03], [y], s=26, color=colour, marker=marker)
        names.text(0.1, y, f"{n + 1}  {arm.name}", fontsize=8, color=INK, va="center")
    names.set_xlim(0, 1)
    names.set_ylim(0, 1)
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("forgetting, points of held-out accuracy lost", color=MUTED)
    ax.set_ylabel("learning, points on the sensor's questions", color=MUTED)
    lay_out(figure)
    figure.patch.set_facecolor("white")
    figure.patch.set_alpha(1)
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    partial.replace(path)
