"""ModelNet40, zero-shot: 2468 CAD models of 40 classes, by 64 prompts a class.

Source: Wu et al. 2015 (arXiv:1406.5670), the data; ULIP and OpenShape, the protocol.

Note:
    "flower_pot" in a folder is "flower pot" in a prompt; and the official test part has 100 models of some classes and
    20 of others, so read the class mean too.
"""

from __future__ import annotations

from pairalign.evaluate.protocols.shapes import Benchmark, register_benchmark

CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower pot", "glass box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night stand", "person", "piano", "plant", "radio", "range hood", "sink", "sofa", "stairs", "stool", "table",
    "tent", "toilet", "tv stand", "vase", "wardrobe", "xbox",
)  # fmt: skip
PUBLISHED = {"OpenShape": 0.844, "ULIP-2": 0.847, "Uni3D-g": 0.882}

register_benchmark(
    "modelnet40",
    Benchmark(
        {"samples": 2468, "classes": 40}, PUBLISHED, CLASSES, spell=lambda label: label.replace("_", " ").lower()
    ),
    title="zero-shot classification of shapes, 40 classes",
    source="ModelNet40 (arXiv:1406.5670)",
    differs=(
        "points are those of the shards, preprocessed by this run's encoder; OpenShape and Uni3D use 10,000 a shape.",
    ),
)
