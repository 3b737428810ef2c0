"""Objaverse-LVIS, zero-shot: objects of 1,156 LVIS categories, by 64 prompts a class.

Source: Deitke et al. 2023 (arXiv:2212.08051), the data; OpenShape (arXiv:2305.10764), the protocol. Where it bites: a
class name goes into the prompt as LVIS spells it ("arctic_(type_of_shoe)"), as the published evaluations do; and a run
that trained on all of Objaverse has seen these very objects, which OpenShape's figures without LVIS leave out.
"""

from __future__ import annotations

from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.shapes import PAPERS, zero_shot_shapes
from pairalign.evaluate.protocols.task import Task

PUBLISHED = {"OpenShape": 0.468, "ULIP-2": 0.506, "Uni3D-g": 0.553}


@register_protocol(
    "objaverse-lvis",
    title="zero-shot classification of shapes, 1,156 LVIS categories",
    source=f"Objaverse (arXiv:2212.08051) as in {PAPERS}",
    differs=(
        "the text side is this run's text tower and head; the papers' is a frozen CLIP text tower.",
        "the classes are those that the shards' labels name.",
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
        classes=None,
        expected={"samples": 46832, "classes": 1156},
        published=PUBLISHED,
        points=points,
        text=text,
        split=split,
        templates=templates,
        whole=True,
    )
