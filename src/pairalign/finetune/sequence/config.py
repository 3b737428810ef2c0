"""The configuration of skills in sequence: stages over shared defaults, ways to learn side by side, seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pairalign.core.bounds import Strict, Whole
from pairalign.core.names import Label, Options, Text


@dataclass(frozen=True)
class SequenceConfig(Strict):
    """Skills in sequence: a run of `pairalign recompose` a stage, and the report.

    What is trained beside the base goes on in its place from stage to stage (`start: {updates: same}`); an arm with
    `start: {updates: new}` merges its LoRA after each stage and starts another.

    Args:
        stages: in order, each with a `name`, at least one task in `validation` that says what was learned, and else any
            part of a `RecomposeConfig`: `tasks`, `train: {steps: …}`. Each begins where the one before ended.
        out: folder of all runs and of the report.
        defaults: what all stages have: `base`, `root`, `sensors`, `held_out`, `train`, ….
        arms: ways to learn by name, each any part of a `RecomposeConfig`, such as `{method: lora, train: {lr: 1e-3}}`;
            all are taught all stages. An arm's settings count before a stage's, a stage's before the defaults;
            `options` are taken whole. None: the one way that defaults and stages say.
        seeds: each arm is taught once with each.
        bridges: which sensors' bridges train in a stage. "taught": those that its training tasks show; "first": only
            those that no stage before has shown, as published runs leave everything but the chosen part alone. The
            others stay.
    """

    stages: tuple[Options, ...]
    out: Text
    defaults: Options = field(default_factory=dict)
    arms: dict[Label, Options] = field(default_factory=dict)
    seeds: tuple[Whole, ...] = (0,)
    bridges: Literal["taught", "first"] = "taught"

    def conflicts(self) -> Iterable[str]:
        if not self.stages:
            yield "stages is empty: give at least one, with a name, tasks and validation"
        if not self.seeds or max(Counter(self.seeds).values()) > 1:
            yield f"seeds is {list(self.seeds)}: give at least one, each once"
        for name, found in (("stages", self.stages), ("arms", self.arms.values()), ("defaults", (self.defaults,))):
            for key in ("out", "seed"):
                if any(key in one for one in found):
                    yield f"{name} names {key}: {'give seeds beside them' if key == 'seed' else 'each run has its own'}"
