"""Pictures drawn from captions and from touches, as a section of the demo's report.

Note:
    Few pairs and few true samples, so that it costs seconds; `pairalign translate … --measure` does the same in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairalign.align.run import AlignRun
from pairalign.data.world import VISIBLE
from pairalign.evaluate.report import Report
from pairalign.translation.measure import measure_translation, measured_grid
from pairalign.translation.tables import factor_rows

PAIRS = 150
TRUE = 400
DRAWN = (("text", "image"), ("touch", "image"))
ROWS = 4


def add_drawings(run: AlignRun, report: Report, *, pairs: Path, out: Path, seed: int, progress: bool) -> None:
    """Add a grid of drawings, and below it what can be read from them, for each direction that the world shows."""
    report.section(
        "Drawn from another sense",
        "Stage one's own decoders draw what crosses the gates; all else is the mean of true samples. They draw 24 "
        "pixels a side, which is too few for a texture: `truth, decoded` shows how well they can.",
    )
    for source, target in DRAWN:
        found = measure_translation(
            run,
            pairs,
            source=source,
            target=target,
            split="test",
            gallery=TRUE,
            limit=PAIRS,
            visible=VISIBLE,
            out=out / f"{source}-{target}",
            seed=seed,
            progress=progress,
        )
        caption = f"{source} → {target}: source, truth, what was drawn, the nearest true sample, the mean of all."
        report.picture(measured_grid(found.setting, found.rows[:ROWS]), caption, _in_words(found.record))
        report.table(*factor_rows(found.record), caption=_CAPTION.format(n=found.record["n"]))


def _in_words(record: Mapping[str, Any]) -> str:
    """What a probe reads from each kind of picture in the grid, for those who cannot see it."""
    head, rows = factor_rows(record)
    told = []
    for name, _, probe, *scores in rows:
        read = ", ".join(f"{what} {score.value:.2f}" for what, score in zip(head[3:], scores, strict=True) if score)
        told.append(f"{name} read by {probe} from {read}")
    return f"{ROWS} rows of pictures. " + "; ".join(told)


_CAPTION = (
    "What a probe of true samples reads from each of {n} pairs, with Wilson interval; chance is what the same answers "
    "score when they are dealt out at random. Controls must be at chance in all columns but those of true partners."
)
