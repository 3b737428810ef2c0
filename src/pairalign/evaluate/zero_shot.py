"""Zero-shot classification: class names become text embeddings, and each sample goes to the nearest.

Source: Radford et al. 2021 (CLIP: prompt templates, averaged per class); top-k and class-mean accuracy as in
ULIP and OpenShape.

Note:
    With unequal classes, overall accuracy rewards naming the biggest ones; read the class mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.evaluate.intervals import Labels, Score, bootstrap, bootstrap_mean, class_mean
from pairalign.evaluate.ranking import TIE, check_pool, hit_probability, similarities

TEMPLATES: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "general": ("{}.", "a {}.", "this is a {}.", "an example of a {}.", "a recording of a {}."),
    "image": (
        "a photo of a {}.", "a photo of the {}.", "a picture of a {}.", "a close-up photo of a {}.",
        "a cropped photo of a {}.", "a bright photo of a {}.", "a photo of one {}.",
    ),
    "points": (
        "a point cloud of a {}.", "a point cloud model of a {}.", "a 3D model of a {}.", "a 3D scan of a {}.",
        "a CAD model of a {}.", "the shape of a {}.", "a rendering of a {}.", "there is a {} in the scene.",
    ),
    "touch": (
        "a tactile image of {}.", "a touch on {}.", "the feel of {}.", "a surface that feels like {}.",
        "this feels like {}.", "a contact with {}.", "the texture of {}.",
    ),
    "audio": ("the sound of a {}.", "a recording of a {}.", "this is the sound of {}.", "i can hear a {}."),
    "depth": ("a depth map of a {}.", "a depth photo of a {}.", "a {} seen by a depth camera."),
    "thermal": ("a thermal image of a {}.", "an infrared photo of a {}.", "a {} seen by a thermal camera."),
    "series": ("a recording of {}.", "a sensor signal of {}.", "a measurement of {}.", "someone is {}."),
}  # fmt: skip


@dataclass(frozen=True)
class ZeroShotScore:
    """Top-k accuracy over all samples and as a mean over classes, k -> `Score`; chance is k / number of
    classes.

    majority: share of the most common class, what always naming it would score.
    confusion: (C, C) float64, true class by row; a tie counts to each tied class by its share.
    """

    overall: dict[int, Score]
    class_mean: dict[int, Score]
    majority: float
    classes: tuple[str, ...]
    confusion: Tensor = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for `metrics.json`."""
        return {
            "overall": {f"top{k}": s.to_dict() for k, s in self.overall.items()},
            "class_mean": {f"top{k}": s.to_dict() for k, s in self.class_mean.items()},
            "majority": self.majority,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


def templates_for(kind: str) -> tuple[str, ...]:
    """The built-in templates for a kind of sensor; an unknown kind is a `ConfigError`."""
    if kind not in TEMPLATES:
        raise ConfigError(f"templates for {kind!r} do not exist.{did_you_mean(kind, TEMPLATES)}")
    return TEMPLATES[kind]


def template_kind(modality: str, kind: str) -> str:
    """The built-in templates that suit a modality, by its name, else by the kind of its signal."""
    return next((name for name in (modality, kind) if name in TEMPLATES), "general")


def class_embeddings(
    encode_text: Callable[[list[str]], Tensor],
    classes: Sequence[str],
    templates: str | Sequence[str] = "general",
    *,
    batch_size: int = 256,
) -> Tensor:
    """Unit text embedding (C, D) of each class: the mean over templates of the unit embeddings of its
    prompts.

    encode_text: maps a list of n prompts to (n, D). templates: a kind of `TEMPLATES`, or strings that hold
    `{}` once.
    """
    forms = templates_for(templates) if isinstance(templates, str) else tuple(templates)
    wrong = [form for form in forms if form.count("{}") != 1]
    if not forms or wrong:
        raise ConfigError(f"templates={list(forms)!r}: each must hold {{}} exactly once; not so: {wrong}.")
    if not classes:
        raise DataError("class_embeddings(classes=[]): give at least one class name.")
    prompts = [form.replace("{}", name) for name in classes for form in forms]
    with torch.no_grad():
        parts = [encode_text(prompts[i : i + batch_size]) for i in range(0, len(prompts), batch_size)]
    unit = F.normalize(torch.cat(parts).detach().cpu().double(), dim=1)
    return F.normalize(unit.view(len(classes), len(forms), -1).mean(1), dim=1)


def through_known(embeddings: Tensor, known_vectors: Tensor, temperature: float = 0.1) -> Tensor:
    """Replace each embedding (N, D) by the mean of known classes' text vectors (C, D), weighted by nearness; (N, D).

    For classes that training never named: an encoder is sure of where a sample lies among the classes that it was
    trained on, and only the text tower knows where a new name lies among those. The weights are a softmax of cosine
    over `temperature`. Source: convex combinations of semantic embeddings, Norouzi et al. 2014 (arXiv:1312.5650).
    """
    check_pool(embeddings, known_vectors)
    if temperature <= 0:
        raise ConfigError(f"temperature={temperature}: give a number above 0; 0.1 suits cosines.")
    known = F.normalize(known_vectors.double(), dim=1)
    weights = (F.normalize(embeddings.double(), dim=1) @ known.T / temperature).softmax(1)
    return weights @ known


def classify(
    embeddings: Tensor,
    labels: Tensor | Sequence[int],
    class_vectors: Tensor,
    classes: Sequence[str],
    *,
    ks: Sequence[int] = (1, 3, 5),
    groups: Labels | None = None,
    tie: float = TIE,
    samples: int = 1000,
    seed: int = 0,
) -> ZeroShotScore:
    """Score embeddings (N, D) with true class indices (N,) against class_vectors (C, D) by cosine similarity.

    ks above C are left out. Ties are in random order, in expectation, so a collapsed encoder scores chance.
    """
    check_pool(embeddings, class_vectors)
    truth = torch.as_tensor(labels, dtype=torch.int64).flatten().cpu()
    n_classes = len(class_vectors)
    if len(truth) != len(embeddings) or len(classes) != n_classes:
        raise DataError(
            f"classify: {len(embeddings)} embeddings, {len(truth)} labels, {n_classes} class vectors, "
            f"{len(classes)} names: give one label per embedding and one name per class."
        )
    if int(truth.min()) < 0 or int(truth.max()) >= n_classes:
        raise DataError(f"classify: labels go from {int(truth.min())} to {int(truth.max())}, classes are {n_classes}.")
    above, tied, confusion = _ranks(embeddings, truth, class_vectors, tie)
    overall, means = {}, {}
    for k in (k for k in ks if k <= n_classes):
        hits = hit_probability(k - above, tied, torch.ones_like(tied))
        settings: dict[str, Any] = {
            "chance": k / n_classes,
            "groups": groups,
            "samples": samples,
            "seed": seed,
        }
        overall[k] = bootstrap_mean(hits, **settings)
        means[k] = bootstrap(class_mean(hits, truth), len(hits), **settings)
    majority = float(truth.bincount().max()) / len(truth)
    return ZeroShotScore(overall, means, majority, tuple(classes), confusion)


def _ranks(x: Tensor, truth: Tensor, vectors: Tensor, tie: float) -> tuple[Tensor, Tensor, Tensor]:
    """Classes above the true one (N,), other classes tied with it (N,), confusion (C, C); all float64."""
    above, tied, confusion = [], [], torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for rows, sim in similarities(x, vectors):
        true = sim.gather(1, truth[rows, None])
        above.append((sim > true + tie).sum(1))
        tied.append(((sim - true).abs() <= tie).sum(1) - 1)
        best = (sim >= sim.amax(1, keepdim=True) - tie).double()
        confusion.index_add_(0, truth[rows], best / best.sum(1, keepdim=True))
    return torch.cat(above).double(), torch.cat(tied).double(), confusion
