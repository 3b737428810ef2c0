"""What a conversion did: counts, what was left out and why, duplicates, and pairs that look exchanged.

Note:
    Duplicates are files of equal bytes; nearly equal ones, and everything else that makes a score a lie, is for
    `pairalign data audit` to find. The look for exchanged pairs takes a few hundred samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.convert.dataset_format import DatasetFormat
from pairalign.data.index import ShardIndex
from pairalign.data.kinds import names_touch
from pairalign.files import write_json

REPORT = "conversion.json"
LOOKED_AT = 100  # samples of each split, for exchanged pairs


@dataclass
class Skipped:
    """Collects (key, reason) of what a dataset format leaves out; a strict one raises at the first."""

    strict: bool = False
    entries: list[tuple[str, str]] = field(default_factory=list)
    suspicions: list[str] = field(default_factory=list)

    def __call__(self, key: str, reason: str, /) -> None:
        """Note one."""
        if self.strict:
            raise DataError(f"{key}: {reason}")
        self.entries.append((key, reason))

    def suspect(self, message: str, /) -> None:
        """Keep a suspicion for the report."""
        self.suspicions.append(message)


@dataclass(frozen=True)
class Conversion:
    """A finished conversion. report: what `conversion.json` holds."""

    folder: Path
    index: ShardIndex
    report: dict[str, Any]

    @classmethod
    def of(
        cls,
        form: DatasetFormat,
        source: Path,
        out: Path,
        index: ShardIndex,
        options: Mapping[str, Any],
        ids: Sequence[Mapping[str, np.ndarray]],
        swaps: Sequence[str],
    ) -> Conversion:
        """Put the figures together; `ids`: content ids by modality, of each shard."""
        reasons = Counter(reason.partition(":")[0] for _, reason in index.skipped)
        doubles = {name: _doubled([part[name] for part in ids if name in part]) for name in index.modalities}
        report = {
            "format": form.name,
            "layout": form.name,  # earlier name
            "title": form.title,
            "folder": source.name,
            "options": dict(options),
            "converted": sum(split.count for split in index.splits.values()),
            "skipped": len(index.skipped),
            "reasons": dict(reasons.most_common()),
            "splits": {name: split.count for name, split in index.every_split.items()},
            "duplicates": {name: count for name, count in doubles.items() if count},
            "suspected_swaps": list(swaps),
        }
        return cls(out, index, report)

    def write(self) -> None:
        """Write `conversion.json` into the folder, at once or not at all."""
        write_json(self.folder / REPORT, self.report)

    def text(self) -> str:
        """For a terminal."""
        report = self.report
        counts = ", ".join(f"{name} {count}" for name, count in report["splits"].items())
        lines = [f"{report['title']}: {report['converted']} samples converted ({counts})"]
        lines += [f"skipped {count:>7}  {reason}" for reason, count in report["reasons"].items()]
        lines += [f"doubled {count:>7}  {name} of the same bytes" for name, count in report["duplicates"].items()]
        lines += [f"suspected: {swap}" for swap in report["suspected_swaps"]]
        lines += [f"licence: {self.index.licence}", f"shards: {self.folder}", f"report: {self.folder / REPORT}"]
        return "\n".join(lines)


def _doubled(ids: Sequence[np.ndarray]) -> int:
    """How many values are a repetition of another one."""
    if not ids:
        return 0
    every = np.concatenate(ids)
    return len(every) - len(np.unique(every))


def suspected_swaps(folder: Path, index: ShardIndex, seed: int = 0) -> list[str]:
    """What the audit says of exchanged columns, from a few samples; nothing where no touch is beside another image."""
    images = [name for name, info in index.modalities.items() if set(info.ext) & {"jpg", "png", "pgm"}]
    if len(images) < 2 or not any(names_touch(name) for name in images):
        return []
    from pairalign.data.audit import audit_pairs

    audit = audit_pairs(folder, checks=["swapped"], limit=LOOKED_AT, seed=seed, progress=False)
    return [finding.message for finding in audit.findings if finding.severity != "note"]
