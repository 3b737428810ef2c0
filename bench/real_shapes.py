"""Shapes and their names: the library's recipe against a supervised classifier and against plain InfoNCE.

Used by `real_stage_one.py`. All arms take the same network, the same random views, the same number of steps of the same
batch size; the CPU seconds that each took are recorded.

Note:
    The labels are class names, no human captions; nearly equal meshes lie on both sides of the split, so every score is
    also given without the test samples that `audit_pairs` finds in training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pairalign.align.model import build_aligner
from pairalign.align.run import AlignRun, align_pairs, build_datasets
from pairalign.align.task import parameter_groups
from pairalign.core.config import AlignConfig, load_config
from pairalign.data.audit import audit_pairs
from pairalign.data.index import load_index
from pairalign.data.manifest import Manifest
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.measure import encode_texts, pair_embeddings
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.zero_shot import ZeroShotScore, class_embeddings, classify, through_known

CONFIG = Path(__file__).parents[1] / "configs" / "real" / "shapes_text.yaml"
PLAIN = ("modalities.text.head=0", "loss.contrast=1", "loss.relation=0")  # InfoNCE, a learned linear map on either side
UNSEEN_ARMS: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "plain": (*PLAIN, "modalities.text.views=1", "modalities.text.options.templates=[]"),
    "plain-templates": PLAIN,
}
HELD = "unseen"


def pack_shapes(data: Path, out: Path, unseen: Sequence[str] = ()) -> Path:
    """Pack points and class names; samples of the `unseen` classes go to a split of that name."""
    if not (out / "index.json").exists():
        manifest = Manifest(data / "shapes" / "manifest.jsonl", {"points": "points", "text": "label"}, {"key": "id"})
        pack_pairs(_rows(manifest, set(unseen)), out, modalities=["points", "text"], progress=False)
    return out


def _rows(manifest: Manifest, unseen: set[str]) -> Iterator[dict[str, Any]]:
    for row in manifest.read():
        label = row["text"]
        yield {**row, "label": label, "split": HELD if label in unseen else row["split"]}


def class_names(folder: Path, split: str) -> list[str]:
    """The distinct class names of a split."""
    return sorted(set(labels_of(folder, split).values()))


def labels_of(folder: Path, split: str) -> dict[str, str]:
    """Class name by sample key."""
    from pairalign.data.shards import read_samples

    return {sample.key: sample.values["text"] for sample in read_samples(folder, split, ["text"])}


def duplicates(folder: Path) -> set[str]:
    """Keys of test samples that the audit finds, nearly equal, in training."""
    found = audit_pairs(folder, checks=["duplicates"], splits=["train", "test"], progress=False)
    return {key for finding in found.findings for key in finding.keys} & set(labels_of(folder, "test"))


def configuration(packed: Path, text: Path, out: Path, seed: int, steps: int, overrides: Sequence[str]) -> AlignConfig:
    """The configuration of one aligned arm."""
    where = [f"data.root={packed.parent}", f"edges.0.shards={packed.name}", f"modalities.text.options.model={text}"]
    return load_config(AlignConfig, CONFIG, [*where, f"out={out}", f"seed={seed}", f"train.steps={steps}", *overrides])


def train_aligned(config: AlignConfig) -> tuple[AlignRun, float]:
    """Align, and return the run and the CPU seconds of it, those of the anchor cache included."""
    start = time.process_time()
    run = align_pairs(config, progress=False)
    return run, time.process_time() - start


def name_classes(
    run: AlignRun, folder: Path, split: str, names: Sequence[str], known: Sequence[str] = ()
) -> ZeroShotScore:
    """Zero-shot classification among `names`, with the templates that training used; through `known` names, if any."""
    pool = encode_pool(run, folder, split, progress=False)
    _, points = pair_embeddings(run.aligner, pool, "text", "points")
    templates = ["{}", *run.config.modalities["text"].options["templates"]]
    encode = partial(encode_texts, run.aligner, "text", "points")
    if known:
        points = through_known(points, class_embeddings(encode, known, templates))
    truth = [names.index(label) for label in pool.factors["label"]]
    return classify(points, truth, class_embeddings(encode, names, templates), names)


class Classifier(nn.Module):
    """The same encoder with a linear layer on its pooled features."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(encoder.width, classes))  # type: ignore[arg-type]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(batch).pooled)
        return logits


def train_classifier(config: AlignConfig, names: Sequence[str]) -> tuple[Classifier, float]:
    """Cross-entropy with label smoothing on the same dataset, optimizer and schedule as the aligned arm."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    aligner = build_aligner(config)
    (dataset,) = build_datasets(config, aligner, progress=False)["train"].values()
    labels = labels_of(dataset.sources[0].folder, "train")
    model = Classifier(aligner.encoder("points"), len(names)).train()
    settings = config.train
    optimizer = torch.optim.AdamW(parameter_groups(model, settings.lr, settings.weight_decay))
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in optimizer.param_groups], settings.steps, settings.warmup / settings.steps
    )
    start = time.process_time()
    for step, batch in enumerate(dataset):
        if step == settings.steps:
            break
        truth = torch.tensor([names.index(labels[key]) for key in batch.keys])
        side = batch.b if dataset.edges[0][1] == "points" else batch.a
        loss = F.cross_entropy(model(side.value), truth, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        rate.step()
    return model.eval(), time.process_time() - start


@torch.no_grad()
def classify_supervised(model: Classifier, folder: Path, names: Sequence[str]) -> ZeroShotScore:
    """Score the classifier on the test split, by the same code that scores the aligned arm."""
    from pairalign.data.shards import read_samples

    encoder: Any = model.encoder
    samples = list(read_samples(folder, "test", ["points", "text"]))
    values = [encoder.preprocess(sample.values["points"]) for sample in samples]
    logits = torch.cat([model(encoder.collate(values[i : i + 64])) for i in range(0, len(values), 64)])
    truth = [names.index(sample.values["text"]) for sample in samples]
    return classify(logits.log_softmax(1).exp(), truth, torch.eye(len(names)), names)


def draws(names: Sequence[str], count: int, seed: int, size: int = 10) -> list[list[str]]:
    """`count` random choices of `size` classes."""
    generator = torch.Generator().manual_seed(seed)
    return [sorted(names[i] for i in torch.randperm(len(names), generator=generator)[:size]) for _ in range(count)]


def splits(folder: Path) -> dict[str, int]:
    """Samples by split."""
    return {name: split.count for name, split in load_index(folder).splits.items()}
