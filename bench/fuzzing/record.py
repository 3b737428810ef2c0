"""What is kept of a reader: how long it was fuzzed, with what outcome, and the first input of every kind of finding.

Note:
    The process that reads writes the record, and the one that watches only while no other is alive; so a run that was
    interrupted at any moment goes on from what it says.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Finding:
    """count: cases of this kind. said: message of the first. door: file that was damaged. input: shortest, base64."""

    count: int
    said: str
    door: str
    input: str

    @property
    def data(self) -> bytes:
        """The damaged file."""
        return base64.b64decode(self.input)


@dataclass
class Record:
    """seconds: CPU time spent. read, refused: cases of either outcome. slowest: CPU seconds of one case. peak_mib: most
    memory that a case took above what the process had before its first. restarts: after hangs, deaths, interruptions.
    """

    reader: str
    seed: int
    seconds: float = 0.0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak_mib: float = 0.0
    restarts: int = 0
    finished: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        """All of them."""
        return self.read + self.refused + self.bad

    @property
    def bad(self) -> int:
        """Cases that are findings."""
        return sum(finding.count for finding in self.findings.values())

    def found(self, kind: str, said: str, door: str, data: bytes) -> bool:
        """Note a finding; whether it is the first of its kind."""
        text = base64.b64encode(data).decode()
        known = self.findings.get(kind)
        if known is None:
            self.findings[kind] = Finding(1, said[:500], door, text)
            return True
        known.count += 1
        if len(text) < len(known.input):
            known.said, known.door, known.input = said[:500], door, text
        return False

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Record:
        """What `save` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**told, "findings": {kind: Finding(**one) for kind, one in told["findings"].items()}})

    def line(self) -> str:
        """One line for people."""
        kinds = ", ".join(f"{finding.count} × {kind}" for kind, finding in self.findings.items()) or "nothing found"
        return (
            f"{self.reader:<18}{self.cases:>9} cases{self.seconds:>8.0f} s{self.peak_mib:>7.0f} MiB"
            f"{self.slowest:>7.2f} s slowest: {kinds}"
        )
