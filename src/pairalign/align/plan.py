"""What a run would do, before anything long starts: the pair graph, parameters, memory, time, and one real batch.

The estimate comes from two timed steps on real batches of every edge.

Note:
    On a GPU the first steps are slower than the rest, so the time is an upper estimate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from pairalign.align.captions import caption_notes
from pairalign.align.check import check_edges, check_folders
from pairalign.align.dataset import DatasetSource, PairDataset, SideSource
from pairalign.align.losses import is_own
from pairalign.align.model import PairAligner, build_aligner, config_graph
from pairalign.align.plan_anchors import Anchors, cached_batches, count_anchors
from pairalign.align.precision import check_trainer
from pairalign.align.sources import pools_of, recorded_of
from pairalign.align.store import start_encoders
from pairalign.align.strategy import check_strategy
from pairalign.core.config import AlignConfig
from pairalign.data.graph import PairGraph, edge_name
from pairalign.data.index import load_index
from pairalign.data.remote.cache import use_cache
from pairalign.runtime import find_device


@dataclass(frozen=True)
class PoolPart:
    """One data set of an edge's pool: samples that it holds, how many an epoch draws, and the share that they are.

    weight: as configured, None by size. sensor: make by modality, where an encoder tells sensors apart.
    """

    name: str
    folder: str
    split: str
    samples: int
    weight: float | None
    drawn: int
    share: float
    sensor: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A checked run. Parameter counts per modality, memory in bytes, time in seconds; notes for its user. anchors: of
    the frozen modalities, which are computed once and not in the steps. contrastive: the loss by name."""

    graph: PairGraph
    trainable: dict[str, int]
    frozen: dict[str, int]
    samples: dict[str, int]
    losses: dict[str, float]
    memory: int
    step_seconds: float
    steps: int
    notes: tuple[str, ...] = ()
    pools: dict[str, list[PoolPart]] = field(default_factory=dict)
    anchors: dict[str, Anchors] = field(default_factory=dict)
    contrastive: str = "infonce"

    @property
    def seconds(self) -> float:
        """Expected time of the whole run: anchors that are not cached yet, and the steps."""
        return sum(one.seconds for one in self.anchors.values()) + self.step_seconds * self.steps

    def text(self) -> str:
        """The plan as a page for the terminal."""
        lines = [*draw_graph(self.graph), ""]
        width = max(map(len, self.trainable)) + 2
        lines += [f"{'':{width}}{'trainable':>12}{'frozen':>12}"]
        lines += [f"{name:{width}}{n:>12,}{self.frozen[name]:>12,}" for name, n in self.trainable.items()]
        total, still = sum(self.trainable.values()), sum(self.frozen.values())
        lines += [f"{'sum':{width}}{total:>12,}{still:>12,}", ""]
        for name, n in self.samples.items():
            lines += [f"{name}: {n:,} training pairs, first loss {self.losses[name]:.3f}"]
            lines += draw_pool(self.pools[name])
        lines += [f"loss {self.contrastive}, of a plugin"] * (not is_own(self.contrastive))
        lines += self.notes
        for name, one in self.anchors.items():
            lines += [
                f"frozen {name}: about {_clock(one.seconds)} to cache {one.missing:,} views once"
                + f", {one.found:,} are cached" * (one.found > 0)
            ]
        lines += [
            f"memory: about {self.memory / 2**30:.2f} GiB for weights, gradients, optimizer and one batch",
            f"time: about {_clock(self.seconds)} for {self.steps:,} steps of {self.step_seconds:.3f} s"
            + ", and the anchors" * bool(self.anchors),
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
            "loss": self.contrastive,
            "pools": {name: [asdict(part) for part in parts] for name, parts in self.pools.items() if len(parts) > 1},
            "memory_bytes": self.memory,
            "seconds": self.seconds,
            "anchors": {name: asdict(one) | {"seconds": one.seconds} for name, one in self.anchors.items()},
            "notes": list(self.notes),
        }


def plan_run(config: AlignConfig, *, progress: bool = True) -> Plan:
    """Check every path, shape, unit and rate of a run on real batches, and estimate what it costs; train nothing.

    Frozen towers are timed on a batch instead of being cached, and steps with what they gave, as a run reads its cache.
    Raises the errors that `align_pairs` would raise.
    """
    check_strategy(config.train.strategy)
    device = find_device(config.train.accelerator, "train.accelerator")
    check_trainer(config.train, device)
    use_cache(config.data.cache, config.data.cache_gb)
    check_folders(config)
    torch.manual_seed(config.seed)
    graph, aligner = config_graph(config), build_aligner(config).to(device)
    notes = [*check_edges(config, aligner), *caption_notes(config, aligner)]
    start_encoders(config, aligner)
    datasets = _plain_datasets(config, aligner)
    batches = {name: next(iter(dataset)) for name, dataset in datasets.items()}
    pools = {edge_name(edge): _drawn(dataset) for dataset in datasets.values() for edge in dataset.edges}
    for name, batch in batches.items():
        for key, reason in batch.bad:
            notes.append(f"note: damaged sample: {name} {key}: {reason}")
    batches, each = cached_batches(aligner, batches, device)
    anchors = count_anchors(config, aligner, each)
    seconds, losses, activations = _try_steps(config, aligner, batches, device)
    trainable, frozen = _count(aligner)
    weights = 4 * sum(frozen.values()) + 16 * sum(trainable.values())  # value, gradient and two Adam moments
    memory, steps = weights + activations, config.train.steps
    samples = {edge_name(edge.between): sum(s.samples for s in pools[edge_name(edge.between)]) for edge in config.edges}
    rest: dict[str, Any] = {
        "notes": tuple(notes),
        "pools": pools,
        "anchors": anchors,
        "contrastive": config.loss.contrastive,
    }
    return Plan(graph, trainable, frozen, samples, losses, memory, seconds, steps, **rest)


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


def draw_pool(parts: Sequence[PoolPart]) -> list[str]:
    """The data sets of a pool as lines; none where there is only one."""
    if len(parts) < 2:
        return []
    total, width = sum(part.drawn for part in parts), max(len(part.name) for part in parts)
    lines = [f"  pool of {len(parts)} sources, an epoch is {total:,} samples:"]
    for part in parts:
        how = "by size" if part.weight is None else f"weight {part.weight:g}"
        sensor = "".join(f", {end} of {name}" for end, name in part.sensor.items())
        times = part.drawn / part.samples
        each = f"{part.drawn:,} drawn ({times:.3g} × each)" if part.drawn != part.samples else "each once"
        lines.append(
            f"  {part.name:<{width}}  {part.samples:>9,} in {part.split}, {how}: {each}, {part.share:.1%}{sensor}"
        )
    return lines


def _drawn(dataset: PairDataset) -> list[PoolPart]:
    total = sum(dataset.shares)
    return [
        PoolPart(
            source.name,
            str(source.folder),
            source.split,
            count,
            source.weight,
            share,
            share / total,
            {end: side.recorded["sensor"] for end, side in source.sides.items() if side.encoder.sensors},
        )
        for source, count, share in zip(dataset.sources, dataset.counts, dataset.shares, strict=True)
    ]


def _parts(graph: PairGraph) -> str:
    return " | ".join(", ".join(part) for part in graph.components())


def _plain_datasets(config: AlignConfig, aligner: PairAligner) -> dict[str, PairDataset]:
    """The training datasets without caches."""
    datasets = {}
    for pool in pools_of(config):
        sources = []
        for source in pool.sources:
            index, sides = load_index(source.folder), {}
            for end in dict.fromkeys(end for edge in pool.edges for end in edge):
                stored, encoder = config.modalities[end].source or end, aligner.encoder(end)
                sides[end] = SideSource(stored, encoder, recorded=recorded_of(source, index.modalities[stored], end))
            sources.append(DatasetSource(source.folder, source.train, sides, source.name, source.weight))
        settings: dict[str, Any] = {
            "seed": config.seed,
            "augment": config.data.augment,
            "temperature": pool.temperature,
        }
        dataset = PairDataset(sources, pool.edges, config.train.batch_size, **settings)
        datasets[pool.name] = replace(dataset, batch_size=min(dataset.batch_size, sum(dataset.counts)))
    return datasets


def _try_steps(
    config: AlignConfig, aligner: PairAligner, batches: dict[str, Any], device: torch.device
) -> tuple[float, dict[str, float], int]:
    """Seconds of one step over all edges, each edge's first loss, and bytes of activations kept for the backward."""
    pools = {pool.name: pool for pool in pools_of(config)}
    losses: dict[str, float] = {}
    kept, seconds = 0, 0.0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    for _ in range(2):  # the first pass warms up and counts, the second is timed
        start, counted = time.perf_counter(), kept
        for name, batch in batches.items():
            for edge in pools[name].edges:
                a, b = (batch.sides[end].to(device) for end in edge)
                with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                    loss = aligner.total(aligner.edge_terms(edge, a, b))
                loss.backward()
                losses.setdefault(edge_name(edge), float(loss.detach()))
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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
