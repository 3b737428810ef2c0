"""What a run would do, before anything long starts: the pair graph, parameters, memory, time, and one real batch.

The estimate comes from two timed steps on real batches of every edge. Where it bites: on a GPU the first steps are
slower than the rest, so the time is an upper estimate.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pairalign.align.check import check_edges, check_folders
from pairalign.align.feed import PairFeed
from pairalign.align.model import PairAligner, build_aligner, config_graph
from pairalign.align.precision import check_trainer
from pairalign.align.store import start_encoders
from pairalign.core.config import AlignConfig
from pairalign.data.graph import PairGraph, edge_name
from pairalign.data.index import load_index
from pairalign.data.place import find_place
from pairalign.data.remote.cache import use_cache
from pairalign.data.shards import count_samples
from pairalign.runtime import find_device


@dataclass(frozen=True)
class Plan:
    """A checked run. Parameter counts per modality, memory in bytes, time in seconds; notes for its user."""

    graph: PairGraph
    trainable: dict[str, int]
    frozen: dict[str, int]
    samples: dict[str, int]
    losses: dict[str, float]
    memory: int
    step_seconds: float
    steps: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Expected time of the whole run."""
        return self.step_seconds * self.steps

    def text(self) -> str:
        """The plan as a page for the terminal."""
        lines = [*draw_graph(self.graph), ""]
        width = max(map(len, self.trainable)) + 2
        lines += [f"{'':{width}}{'trainable':>12}{'frozen':>12}"]
        lines += [f"{name:{width}}{n:>12,}{self.frozen[name]:>12,}" for name, n in self.trainable.items()]
        total, still = sum(self.trainable.values()), sum(self.frozen.values())
        lines += [f"{'sum':{width}}{total:>12,}{still:>12,}", ""]
        lines += [
            f"{name}: {n:,} training pairs, first loss {self.losses[name]:.3f}" for name, n in self.samples.items()
        ]
        lines += self.notes
        lines += [
            f"memory: about {self.memory / 2**30:.2f} GiB for weights, gradients, optimizer and one batch",
            f"time: about {_clock(self.seconds)} for {self.steps:,} steps of {self.step_seconds:.3f} s",
        ]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        emergent = {edge_name(edge): list(path) for edge, path in self.graph.emergent().items()}
        return {
            "modalities": list(self.graph.modalities),
            "trained": [edge_name(edge) for edge in self.graph.edges],
            "emergent": emergent,
            "connected": self.graph.connected,
            "trainable": self.trainable,
            "frozen": self.frozen,
            "samples": self.samples,
            "memory_bytes": self.memory,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def plan_run(config: AlignConfig, *, progress: bool = True) -> Plan:
    """Check every path, shape, unit and rate of a run on real batches, and estimate what it costs; train nothing.

    Frozen towers are run on one batch instead of being cached. Raises the errors that `align_pairs` would raise.
    """
    device = find_device(config.train.accelerator, "train.accelerator")
    check_trainer(config.train, device)
    use_cache(config.data.cache, config.data.cache_gb)
    check_folders(config)
    torch.manual_seed(config.seed)
    graph, aligner = config_graph(config), build_aligner(config).to(device)
    notes = check_edges(config, aligner)
    start_encoders(config, aligner)
    batches = {name: next(iter(feed)) for name, feed in _plain_feeds(config, aligner).items()}
    for name, batch in batches.items():
        for key, reason in batch.bad:
            notes.append(f"note: damaged sample: {name} {key}: {reason}")
    seconds, losses, activations = _try_steps(config, aligner, batches, device)
    trainable, frozen = _count(aligner)
    weights = 4 * sum(frozen.values()) + 16 * sum(trainable.values())  # value, gradient and two Adam moments
    memory, steps = weights + activations, config.train.steps
    return Plan(graph, trainable, frozen, _samples(config), losses, memory, seconds, steps, tuple(notes))


def draw_graph(graph: PairGraph) -> list[str]:
    """The graph as lines: trained edges as bars, emergent ones as dots with their path."""
    emergent = graph.emergent()
    width = max(len(name) for name in graph.modalities)
    lines = ["pair graph: " + ("connected" if graph.connected else "NOT connected: " + _parts(graph))]
    lines += [f"  {a:>{width}} ━━━━━━ {b:<{width}}  trained" for a, b in graph.edges]
    lines += [
        f"  {a:>{width}} ······ {b:<{width}}  emergent, by {' → '.join(path)}" for (a, b), path in emergent.items()
    ]
    return lines


def _parts(graph: PairGraph) -> str:
    return " | ".join(", ".join(part) for part in graph.components())


def _plain_feeds(config: AlignConfig, aligner: PairAligner) -> dict[str, PairFeed]:
    from pairalign.align.feed import SideSource

    feeds = {}
    for edge in config.edges:
        folder = find_place(edge.shards, config.data.root)
        stored, sides = load_index(folder).modalities, {}
        for end in edge.between:
            field = config.modalities[end].source or end
            sides[end] = SideSource(field, aligner.encoder(end), recorded=asdict(stored[field]))
        count = count_samples(folder, config.data.train_split)
        size = min(config.train.batch_size, count)
        feeds[edge_name(edge.between)] = PairFeed(
            folder, config.data.train_split, edge.between, sides, size, seed=config.seed, augment=config.data.augment
        )
    return feeds


def _try_steps(
    config: AlignConfig, aligner: PairAligner, batches: dict[str, Any], device: torch.device
) -> tuple[float, dict[str, float], int]:
    """Seconds of one step over all edges, each edge's first loss, and bytes of activations kept for the backward."""
    by_name = {edge_name(edge.between): edge.between for edge in config.edges}
    losses: dict[str, float] = {}
    kept, seconds = 0, 0.0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    for _ in range(2):  # the first pass warms up and counts, the second is timed
        start, counted = time.perf_counter(), kept
        for name, batch in batches.items():
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = aligner.total(aligner.edge_terms(by_name[name], batch.a.to(device), batch.b.to(device)))
            loss.backward()
            losses.setdefault(name, float(loss.detach()))
        aligner.zero_grad()
        seconds = time.perf_counter() - start
        kept = max(counted, kept - counted)
    return seconds * config.train.accumulate, losses, kept


def _count(aligner: PairAligner) -> tuple[dict[str, int], dict[str, int]]:
    trainable: dict[str, int] = {}
    frozen: dict[str, int] = {}
    for name in aligner.encoders:
        parts = [aligner.encoders[name], aligner.heads[name]]
        parts += [aligner.decoders[name]] if name in aligner.decoders else []
        numbers = [p for part in parts for p in part.parameters()]
        trainable[name] = sum(p.numel() for p in numbers if p.requires_grad)
        frozen[name] = sum(p.numel() for p in numbers if not p.requires_grad)
    rest = [aligner.gates, aligner.scales, aligner.biases]
    trainable["edges"] = sum(p.numel() for part in rest for p in part.parameters())
    frozen["edges"] = 0
    return trainable, frozen


def _samples(config: AlignConfig) -> dict[str, int]:
    root, split = config.data.root, config.data.train_split
    return {edge_name(e.between): count_samples(find_place(e.shards, root), split) for e in config.edges}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
