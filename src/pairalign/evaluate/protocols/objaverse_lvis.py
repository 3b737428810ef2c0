"""Objaverse-LVIS, zero-shot: objects of 1,156 LVIS categories, by 64 prompts a class.

Source: Deitke et al. 2023 (arXiv:2212.08051), the data; OpenShape (arXiv:2305.10764), the protocol.

Note:
    A class name goes into the prompt as LVIS spells it ("arctic_(type_of_shoe)"), as the published evaluations do; and
    a run that trained on all of Objaverse has seen these very objects, which OpenShape's figures without LVIS leave
    out.
"""

from __future__ import annotations

from pairalign.evaluate.protocols.shapes import Benchmark, register_benchmark

PUBLISHED = {"OpenShape": 0.468, "ULIP-2": 0.506, "Uni3D-g": 0.553}

register_benchmark(
    "objaverse-lvis",
    Benchmark({"samples": 46832, "classes": 1156}, PUBLISHED, whole=True),
    title="zero-shot classification of shapes, 1,156 LVIS categories",
    source="Objaverse (arXiv:2212.08051)",
    differs=("the classes are those that the shards' labels name.",),
)
