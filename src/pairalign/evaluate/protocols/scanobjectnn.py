"""ScanObjectNN, zero-shot: objects cut out of scans of rooms, 15 classes, by 64 prompts a class.

Source: Uy et al. 2019 (arXiv:1908.04616), the data; OpenShape and Uni3D, the protocol.

Note:
    One test set comes in several variants; the published zero-shot figures are on objects alone (OBJ_ONLY, 581), while
    the hardest variant (PB_T50_RS, 2882 views, moved, turned and scaled) is what supervised figures are about.
"""

from __future__ import annotations

from pairalign.data.convert.scanobjectnn import CLASSES
from pairalign.evaluate.protocols.shapes import Benchmark, register_benchmark

PUBLISHED = {"Uni3D-g": 0.653}

register_benchmark(
    "scanobjectnn",
    Benchmark({"samples": 581, "classes": 15}, PUBLISHED, CLASSES, spell=str.lower),
    title="zero-shot classification of scanned objects, 15 classes",
    source="ScanObjectNN (arXiv:1908.04616)",
    differs=("the published figure is on the variant of objects alone (OBJ_ONLY); compare on the same variant only.",),
)
