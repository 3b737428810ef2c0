"""The runs that a sequence is made of: one `RecomposeConfig` a stage, arm and seed.

Every run has all sensors and asks all questions, those of skills that come later, too: an untaught bridge is fresh and
stays so. So every line of the table has every column, and one base compares them all.

Note:
    What a stage changes in `sensors` or `held_out` would make its figures those of something else, so it is refused; a
    sensor counts as shown where a training task's prompt has its field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pairalign.core.config import load_config
from pairalign.core.earlier import settings_of_today
from pairalign.core.errors import ConfigError, PairalignError
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.sequence.config import SequenceConfig
from pairalign.sensors.prompt import FIELD

WHOLE = ("options",)  # settings of one method or score, which make no sense beside another's


@dataclass(frozen=True)
class Stage:
    """One run. number: from 0. skills: what each stage's validation is called, by its name, in order."""

    arm: str
    seed: int
    number: int
    name: str
    config: RecomposeConfig
    skills: Mapping[str, Sequence[str]]

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"stages[{self.number}] {self.name!r}, arm {self.arm!r}, seed {self.seed}"


def stages_of(config: SequenceConfig) -> list[Stage]:
    """Every run in the order in which they are made; raise `ConfigError` that names stage and arm."""
    names, skills = _names(config), _skills(config)
    arms = dict(config.arms) or {str(_merged(config.defaults, config.stages[0]).get("method", "dormant")): {}}
    found = []
    for arm, settings in arms.items():
        for seed in config.seeds:
            before: list[RecomposeConfig] = []
            for number, name in enumerate(names):
                title = f"stages[{number}] {name!r}, arm {arm!r}"
                try:
                    before.append(_run(config, number, name, arm, settings, seed, before))
                except PairalignError as error:
                    raise type(error)(f"{title}: {error}") from error
                found.append(Stage(arm, seed, number, name, before[-1], skills))
    return found


def _names(config: SequenceConfig) -> list[str]:
    found = [stage.get("name") for stage in config.stages]
    for number, name in enumerate(found):
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise ConfigError(f"stages[{number}].name={name!r}: give each stage a name, without '/'.")
        if name in found[:number]:
            raise ConfigError(
                f"stages[{number}].name={name!r}: stages[{found.index(name)}] is called so: give another."
            )
    return [str(name) for name in found]


def _skills(config: SequenceConfig) -> dict[str, list[str]]:
    """Names of validation tasks by stage."""
    owner: dict[str, str] = {}
    found = {}
    for number, (name, stage) in enumerate(zip(_names(config), config.stages, strict=True)):
        tasks = stage.get("validation")
        if not isinstance(tasks, Mapping) or not tasks:
            raise ConfigError(
                f"stages[{number}] {name!r}: validation is missing: name a task that says what it learned."
            )
        for task in tasks:
            if task in owner:
                raise ConfigError(
                    f"stages[{number}] {name!r}: validation {task!r} is stage {owner[task]!r}'s: call it otherwise."
                )
            owner[task] = name
        found[name] = list(tasks)
        for key in ("sensors", "senses", "held_out"):
            if key in stage:
                raise ConfigError(f"stages[{number}] {name!r}: {key} is the same in all stages: give it in defaults.")
    if "validation" in config.defaults:
        raise ConfigError("defaults.validation: give each stage its own, which says what it learned.")
    return found


def _run(
    config: SequenceConfig,
    number: int,
    name: str,
    arm: str,
    settings: Mapping[str, Any],
    seed: int,
    before: Sequence[RecomposeConfig],
) -> RecomposeConfig:
    own = {key: value for key, value in config.stages[number].items() if key != "name"}
    told = (settings_of_today(RecomposeConfig, one) for one in (config.defaults, own, settings))
    values = reduce(_merged, told)
    home = Path(config.out)
    values["validation"] = {n: task for stage in config.stages for n, task in stage["validation"].items()}
    values |= {"seed": seed, "out": str(home / plain(arm) / f"seed{seed}" / f"{number + 1}-{plain(name)}")}
    values.setdefault("cache", str(home / "base"))
    values.setdefault("probe", {"own": values.get("train", {}).get("measure_tokens", 1) != 0})
    begins = values.pop("start", None) or {}
    values["start"] = {"updates": "same", **begins, "run": str(Path(before[-1].out).resolve())} if before else None
    made = load_config(RecomposeConfig, values)
    shown = [_shown(one) for one in (*before, made)]
    earlier = set[str]().union(*shown[:-1])
    trained = shown[-1] - (earlier if config.bridges == "first" else set())
    sensors = {n: replace(sensor, trained=sensor.trained and n in trained) for n, sensor in made.sensors.items()}
    return replace(made, sensors=sensors)


def _shown(config: RecomposeConfig) -> set[str]:
    """Sensors that a run's training tasks show."""
    fields = [(task.signals.get(f, f)) for task in config.tasks.values() for f in FIELD.findall(task.prompt)]
    return {name for name in fields if name in config.sensors}


def alone(stage: Stage) -> RecomposeConfig:
    """A stage's run as if it began at the base, to be tried out before the one before it has been made."""
    return replace(stage.config, start=None)


def plain(name: str) -> str:
    """A name as a folder: what is no letter, digit, dot or dash becomes "_"."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in name)


def _merged(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, `b`'s before `a`'s."""
    found = dict(a)
    for name, value in b.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping) and name not in WHOLE
        found[name] = _merged(found[name], value) if both else value
    return found
