"""ScanObjectNN, zero-shot: objects cut out of scans of rooms, 15 classes, by 64 prompts a class.

Source: Uy et al. 2019 (arXiv:1908.04616), the data; OpenShape and Uni3D, the protocol. Where it bites: one test set
comes in several variants; the published zero-shot figures are on objects alone (OBJ_ONLY, 581), while the hardest
variant (PB_T50_RS, 2882 views, moved, turned and scaled) is what supervised figures are about.
"""

from __future__ import annotations

from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.shapes import PAPERS, zero_shot_shapes
from pairalign.evaluate.protocols.task import Task

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip
PUBLISHED = {"Uni3D-g": 0.653}


@register_protocol(
    "scanobjectnn",
    title="zero-shot classification of scanned objects, 15 classes",
    source=f"ScanObjectNN (arXiv:1908.04616) as in {PAPERS}",
    differs=(
        "the text side is this run's text tower and head; the papers' is a frozen CLIP text tower.",
        "the published figure is on the variant of objects alone (OBJ_ONLY); compare on the same variant only.",
    ),
)
def measure(
    task: Task,
    points: str | None = None,
    text: str | None = None,
    split: str | None = None,
    templates: list[str] | None = None,
) -> list[Measurement]:
    """points, text: modalities of the run, default the only one of each kind. split: default "test", and leakage-free
    ones beside it. templates: prompts instead of the 64.
    """
    return zero_shot_shapes(
        task,
        classes=CLASSES,
        expected={"samples": 581, "classes": 15},
        published=PUBLISHED,
        points=points,
        text=text,
        split=split,
        templates=templates,
        spell=str.lower,
    )
