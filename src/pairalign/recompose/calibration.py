"""What a score looked at: calibration batches that know their samples, so that a mask can be traced to its data.

Where it bites: batches of a plain list say nothing of where they are from; then nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from pairalign.recompose.significance.file import StoredScores

BLIND = ("random", "magnitude")  # scores that look at no data


class Calibration(list[dict[str, Any]]):
    """Batches of a model's inputs. origin: of each set its name, split, prompt, content hash, and its samples' keys."""

    def __init__(self, batches: Iterable[dict[str, Any]] = (), origin: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(batches)
        self.origin = list(origin)

    @classmethod
    def joined(cls, parts: Iterable[Calibration]) -> Calibration:
        """All batches, with all origins."""
        kept = list(parts)
        return cls(chain.from_iterable(kept), chain.from_iterable(part.origin for part in kept))


def origin_of(score: str, calibration: Any, scores: Any = None) -> list[dict[str, Any]]:
    """The origin of what a choice of weights rests on: of a significance file's data, if there is one, else of the
    batches; nothing if it is not known, or for a score that looks at no data.
    """
    if scores is not None:
        return list(scores.about.get("calibration", [])) if isinstance(scores, StoredScores) else []
    return [] if score in BLIND else list(getattr(calibration, "origin", []))
