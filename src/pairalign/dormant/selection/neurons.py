"""What a neuron of an MLP is made of: the rows that compute its activation, and the column that reads it.

A gated MLP has three matrices, a row of gate and up and a column of down; a plain one two, a row of the first and a
column of the second, as in the vision towers of CLIP, SigLIP, InternViT and Qwen3-VL.

Note:
    A row has a bias in many vision towers, which stays the base's.
"""

from __future__ import annotations

from collections.abc import Iterable

MLPS = (
    ("gate_proj", "up_proj", "down_proj"),
    ("fc1", "fc2"),
    ("linear_fc1", "linear_fc2"),
    ("up_proj", "down_proj"),
)
"""Names of the matrices of an MLP; the last one reads the activations."""

Groups = dict[str, tuple[str, ...]]


def find_neurons(names: Iterable[str]) -> tuple[Groups, dict[str, list[str]]]:
    """The MLPs among matrices: (names of its matrices, as in `MLPS`) by the MLP's name, and what is none: the last
    parts of the other matrices' names, by what they belong to."""
    parents: dict[str, dict[str, str]] = {}
    for name in names:
        parent, _, last = name.removesuffix(".weight").rpartition(".")
        parents.setdefault(parent, {})[last] = name
    groups, others = Groups(), {}
    for parent, members in parents.items():
        parts = next((parts for parts in MLPS if set(parts) == set(members)), None)
        if parts is None:
            others[parent] = sorted(members)
        else:
            groups[parent] = tuple(members[part] for part in parts)
    return groups, others
