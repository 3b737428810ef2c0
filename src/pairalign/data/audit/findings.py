"""What an audit found: findings with the keys they concern, and the figures that were measured on the way.

Severities: an *error* makes a score wrong, a *warning* needs somebody's decision, a *note* should be known.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pairalign.files import write_json

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One fault: the check that found it, a sentence with its meaning and fix, the samples, and its numbers."""

    check: str
    severity: Severity
    message: str
    keys: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """A whole audit. counts: samples read by split. measures: by check, figures that are no fault."""

    folder: str
    counts: dict[str, int]
    kinds: dict[str, str]
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
    measures: dict[str, Any]
    seed: int = 0

    def at_least(self, severity: Severity) -> list[Finding]:
        """Findings as severe as this or worse."""
        least = SEVERITIES.index(severity)
        return [found for found in self.findings if SEVERITIES.index(found.severity) >= least]

    def write(self, path: str | Path) -> None:
        """Everything, with all keys, as JSON; the file appears whole or not at all."""
        write_json(path, asdict(self))

    def text(self, width: int = 110) -> str:
        """The findings, the worst first, then what was measured, for a terminal."""
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        kinds = ", ".join(f"{name} ({kind})" for name, kind in self.kinds.items())
        lines = [f"audit of {self.folder}: {sum(self.counts.values())} samples ({counts}) of {kinds}", ""]
        for found in sorted(self.findings, key=lambda f: -SEVERITIES.index(f.severity)):
            lines += _describe(found, width)
        tally = [f"{n} {s}{'s' * (n != 1)}" for s in SEVERITIES[::-1] if (n := self._count(s))]
        lines.append(f"{', '.join(tally) or 'nothing found'} in {len(self.checks)} checks")
        return "\n".join([*lines, *_probe_table(self.measures.get("leak", []))])

    def _count(self, severity: Severity) -> int:
        return sum(found.severity == severity for found in self.findings)


def _describe(found: Finding, width: int) -> list[str]:
    head = f"{found.severity:<9}{found.check:<12}"
    lines = textwrap.wrap(found.message, width, initial_indent=head, subsequent_indent=" " * len(head))
    if found.keys:
        shown = ", ".join(found.keys[:5]) + (f" … {len(found.keys)} in all" if len(found.keys) > 5 else "")
        lines.append(f"{'':21}keys: {shown}")
    return [*lines, ""]


def _probe_table(probes: list[dict[str, Any]]) -> list[str]:
    """Top-1 of the trivial probes: what a model has to beat."""
    if not probes:
        return []
    lines = ["", "what a trivial probe reads (top-1 of 1-NN / ridge, 95 % interval of the better, largest class):"]
    for probe in probes:
        lines.append(
            f"  {probe['modality'] + ', ' + probe['view']:<28}{probe['label']:<22}"
            f"{probe['nearest']:>6.3f} /{probe['ridge']:>6.3f}  [{probe['low']:.3f}, {probe['high']:.3f}]"
            f"{probe['chance']:>7.3f}  n {probe['n']}{'' if probe['across'] else ', within the split'}"
        )
    return lines
