"""Run the study: every variant with every seed, resumable, each run its own world and weights.

Source: the ablations of "Multimodal LLMs under Pairwise Modalities" (2026, arXiv:2605.21059).

Note:
    A seed changes the world (its mixings) as well as the weights, so that the spread over seeds is that of both.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from identifying.reading import read_parts
from identifying.recipe import VARIANTS, StudyConfig, train, variant_loss
from identifying.results import Result, Study
from identifying.worlds import World, chain_world
from pairalign.core.config import LossConfig
from pairalign.core.errors import ConfigError
from pairalign.data.graph import edge_name
from pairalign.files import write_json


def study(
    seeds: Sequence[int] = (0, 1, 2),
    variants: Sequence[str] = tuple(VARIANTS),
    config: StudyConfig | None = None,
    world: Callable[[int], World] = chain_world,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Study:
    """Train stage one on pairs of known worlds and measure which block each learned part holds.

    Args:
        seeds: of the world, the weights and the samples; every variant runs with every seed.
        variants: names from `VARIANTS`: the full recipe, and with one piece taken out.
        config: sizes, steps and the full recipe's loss.
        world: makes the world of a seed.
        folder: keeps each finished run as JSON; a later call with the same configuration goes on from there.
        progress: show a bar over all steps with the time left.

    Raises:
        ConfigError: no seed, an unknown variant, or a folder that holds runs of another configuration.
    """
    from tqdm import tqdm

    config = config or StudyConfig()
    if not seeds or not variants:
        raise ConfigError(f"seeds={list(seeds)}, variants={list(variants)}: give at least one of each.")
    losses = {variant: variant_loss(config.loss, variant) for variant in variants}
    results = []
    with tqdm(total=len(seeds) * len(variants) * config.steps, disable=not progress, unit="step") as bar:
        for seed in seeds:
            for variant in variants:
                bar.set_description(f"{variant}, seed {seed}")
                truth, loss = world(seed), losses[variant]
                store = _Store(folder, variant, seed, config, truth)
                result = store.load()
                if result is None:
                    result = run_variant(variant, seed, config, truth, loss, bar.update)
                    store.save(result)
                else:
                    bar.update(config.steps)
                results.append(result)
    results.sort(key=lambda r: (list(variants).index(r.variant), list(seeds).index(r.seed)))
    return Study(config, tuple(results))


def run_variant(
    variant: str,
    seed: int,
    config: StudyConfig,
    world: World,
    loss: LossConfig,
    progress: Callable[[int], object] | None = None,
) -> Result:
    """Train one variant with one seed and read its parts."""
    start = time.process_time()
    aligner = train(world, config, loss, seed, progress)
    cells = read_parts(aligner, world, config.samples, seed + 2)
    gates = {edge_name(edge): [round(g, 4) for g in aligner.gates(edge).tolist()] for edge in world.graph.edges}
    return Result(variant, seed, tuple(cells), gates, round(time.process_time() - start, 1))


class _Store:
    """One finished run on disk, with what it was made from."""

    def __init__(self, folder: str | Path | None, variant: str, seed: int, config: StudyConfig, world: World) -> None:
        self.path = None if folder is None else Path(folder) / f"{variant.replace(' ', '_')}-{seed}.json"
        source = {"config": dataclasses.asdict(config), "world": world.describe()}
        self.source = json.loads(json.dumps(source))

    def load(self) -> Result | None:
        """The finished run, or `None`; a run of another configuration or world is a `ConfigError`."""
        if self.path is None or not self.path.is_file():
            return None
        held = json.loads(self.path.read_text(encoding="utf-8"))
        if held["source"] != self.source:
            raise ConfigError(
                f"folder: {self.path} was made with another configuration or world: give an empty folder."
            )
        return Result.from_dict(held["result"])

    def save(self, result: Result) -> None:
        """Keep the run, whole or not at all."""
        if self.path is not None:
            write_json(self.path, {"source": self.source, "result": result.to_dict()})
