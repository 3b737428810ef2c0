"""Everything that a run of stage two starts from, loaded and checked: the model with its sensors, and the questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from pairalign.dormant.provenance import Calibration
from pairalign.dormant.reserved import read_reserved
from pairalign.finetune.assemble import assemble
from pairalign.finetune.check import check_pictures, check_signals, check_tasks, check_towers, check_words
from pairalign.finetune.collator import Collator, calibration_batches
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import loaded_dtype
from pairalign.finetune.installed import installed_folders
from pairalign.finetune.methods import Method, create_method
from pairalign.finetune.methods.method import Setup
from pairalign.finetune.questions import Questions
from pairalign.finetune.tasks import Task
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor


class Prepared(NamedTuple):
    """The base with its sensors, untrained, in evaluation mode; the method; training tasks; questions by what is
    measured; what the method may look at; and the calibration tasks that this is of.
    """

    model: SensorModel
    processor: SensorProcessor
    method: Method
    tasks: list[Task]
    measured: dict[str, list[Questions]]
    setup: Setup
    calibration: list[Task]


def prepare(
    config: RecomposeConfig,
    device: torch.device,
    asked: Mapping[str, list[Task]] | None = None,
    *,
    mapped: bool = False,
) -> Prepared:
    """Seed everything, load and check; nothing of the base has changed and nothing is written.

    asked: see `read_tasks`. mapped: leave the base's weights in their files, see `assemble`.
    """
    method = create_method(config.method, config.options)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.seed)
    model, processor = assemble(config, device, mapped=mapped)
    reserved = read_reserved(model.llm, installed_folders(config), loaded_dtype(config) if mapped else None)
    asked = check_tasks(config) if asked is None else asked
    tasks, measured, calibration = read_tasks(config, processor, asked)
    check_towers(config, model.llm, tasks)
    check_pictures(config, model.llm)
    folder = config.score_cache or config.cache
    cache = None if folder is None else Path(folder)
    remember = config.train.pull_back is not None
    setup = Setup(
        config.dormant,
        calibration,
        "+".join(config.sensors),
        config.scores,
        cache,
        reserved=reserved,
        remember=remember,
    )
    return Prepared(model, processor, method, tasks, measured, setup, list(asked["calibration"]))


def read_tasks(
    config: RecomposeConfig, processor: SensorProcessor, asked: Mapping[str, list[Task]] | None = None
) -> tuple[list[Task], dict[str, list[Questions]], Calibration | None]:
    """Training tasks, the questions of what is measured by part, and the calibration set's inputs, all checked.

    asked: from `check_tasks`, which is called where they are not given.
    """
    asked, collate = check_tasks(config) if asked is None else asked, Collator(processor)
    for task in asked["tasks"]:
        task.tolerate(config.train.bad_fraction)
    check_signals(asked, processor.sensors)
    for task in asked["tasks"]:
        task.reserved = processor.reserved if task.damaged is not None else ()
    check_words(asked, processor.tokenizer, processor.reserved)
    measured = {part: asked[part] for part in ("validation", "held_out")}
    size, memory = config.train.measure_batch_size, config.train.memory / max(1, sum(map(len, measured.values())))
    sets = {part: [Questions(t, collate, size, memory) for t in of] for part, of in measured.items()}
    shown = Calibration()
    for one in asked["calibration"]:
        shown.extend_by(calibration_batches(one, collate, config.calibration_size))
    return asked["tasks"], sets, shown or None
