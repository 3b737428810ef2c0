"""A run of stage two tried out: its method prepared, two real steps, one batch of every measurement, and the sums.

Nothing is written. The time is that of the second step; the memory is the device's own count where it keeps one, and
otherwise the sum of weights, gradients, moments, what the method holds and what a step keeps for its backward pass.

Note:
    Choosing dormant weights is part of it, so a dry run takes as long as scoring does; measuring and reading signals
    come on top of the time; a first step on a GPU is slower than the rest, the second hardly.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.model import DormantModel
from pairalign.dormant.plan import LayerPlan, aligned, format_bytes, plan_installed
from pairalign.dormant.quantised import bytes_of, count_of, stored_parts
from pairalign.dormant.selection.relevant import NeuronLayer, neuron_rows
from pairalign.finetune.collator import Batch, Collator
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.methods import Method
from pairalign.finetune.module import StageTwo
from pairalign.finetune.pictures import Pictures, count_pictures
from pairalign.finetune.prefixes import PrefixPlan, count_before, plan_prefixes
from pairalign.finetune.recipe_page import kinds
from pairalign.finetune.rehearse import build_rehearsal
from pairalign.finetune.results import sensor_weights, tuned_weights
from pairalign.finetune.sampling import TaskDataset
from pairalign.finetune.start import begin
from pairalign.finetune.tasks import Task
from pairalign.masters import entry_bytes
from pairalign.sensors.model import SensorModel

SAMPLES = 8  # of each task, to count tokens


@dataclass(frozen=True)
class RunPlan:
    """What a run would train, need and save.

    trained: parameters of the language model by kind of module; bridge: those of the bridges; sensors: those of the
    sensors' encoders that train with them. parameters: of the base.
    layers: of dormant tuning, empty for other methods. memory: bytes at the peak, `counted` whether the device counted
    them. delta: bytes of what is saved, None where the method's model cannot be. tokens: of a sample by task, mean;
    before: those before the first signal that are read without gradients, 0 where prompts are read whole.
    prefixes: what keeping those tokens would take; None where prompts are read whole.
    pictures: what keeping the base's features of them would take and save; None without any.
    prepare: seconds before the first step; step: of each of `steps`. neurons: of MLPs whose neurons a score marks.
    """

    method: str
    device: str
    parameters: int
    trained: Mapping[str, int]
    bridge: int
    layers: tuple[LayerPlan, ...]
    memory: int
    counted: bool
    delta: int | None
    tokens: Mapping[str, float]
    before: Mapping[str, float]
    prepare: float
    step: float
    steps: int
    neurons: tuple[NeuronLayer, ...] = ()
    sensors: int = 0
    pictures: Pictures | None = None
    prefixes: PrefixPlan | None = None

    @property
    def seconds(self) -> float:
        """Expected time of all steps."""
        return self.step * self.steps

    def record(self) -> dict[str, Any]:
        """Everything, as plain values for JSON."""
        neurons = [{**asdict(one), "trained": one.trained} for one in self.neurons]
        return {
            **asdict(self),
            "layers": [asdict(layer) for layer in self.layers],
            "neurons": neurons,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        total = sum(self.trained.values())
        lines = [f"method {self.method} on {self.device}; base of {self.parameters:,} parameters", ""]
        if self.layers:
            lines += aligned([("module", "layers", "entries", "dormant", "share"), *kinds(self.layers)])
            lines += ["", *aligned(neuron_rows(self.neurons))] if self.neurons else []
        else:
            lines += aligned([("module", "trained"), *_most(self.trained)])
        source = "counted by the device" if self.counted else "estimate: weights, gradients, moments, one step"
        saved = "nothing: this method's model cannot be saved" if self.delta is None else format_bytes(self.delta)
        tokens = ", ".join(f"{name} {count:.0f}{_aside(self.before[name])}" for name, count in self.tokens.items())
        return "\n".join(
            [
                *(line.rstrip() for line in lines),
                "",
                f"trainable: {total:,} parameters of the language model, {self.bridge:,} of the bridge"
                + (f", {self.sensors:,} of the sensor" if self.sensors else ""),
                f"memory at the peak: {format_bytes(self.memory)} ({source})",
                f"delta and bridge on disk: {saved}",
                f"tokens of a sample: {tokens}",
                *([f"before the sensor: {self.prefixes}"] if self.prefixes is not None else []),
                *([f"pictures: {self.pictures}"] if self.pictures is not None else []),
                f"time: {_clock(self.seconds)} for {self.steps:,} steps of {self.step:.3g} s (one real step, timed); "
                f"{self.prepare:.1f} s to prepare; measuring aside",
            ]
        )


def try_out(
    config: RecomposeConfig,
    model: SensorModel,
    method: Method,
    setup: Any,
    tasks: Sequence[Task],
    measured: Sequence[Task],
    collate: Collator,
    calibration: Sequence[Task] = (),
) -> RunPlan:
    """Prepare, step and measure as the run would; `model`, which is only in memory, is spent afterwards.

    Raise what the run would.
    """
    base, start = count_of(model.llm), time.perf_counter()
    model.llm = begin(config, model, method, setup)
    if config.train.gradient_checkpointing:
        model.llm.gradient_checkpointing_enable()  # type: ignore[operator]
    prepare = time.perf_counter() - start
    trained = [(name, p.numel()) for name, p in model.llm.named_parameters() if p.requires_grad]
    layers = plan_installed(model.llm) if isinstance(model.llm, DormantModel) else ()
    told = model.llm.origins.get(setup.sensor, {}) if isinstance(model.llm, DormantModel) else {}
    neurons = tuple(NeuronLayer(**one) for one in told.get("neurons", ()))
    tuned = tuned_weights(model)
    beside = {n: p.numel() for n, p in model.sensors.named_parameters() if p.requires_grad}
    sensors = sum(count for name, count in beside.items() if name in tuned)
    tokens = {task.name: _tokens(task, collate) for task in tasks}
    cuts = StageTwo(model, method, config).prefixes is not None
    before = {task.name: count_before(task, collate, model) if cuts else (0.0, 0.0) for task in tasks}
    prefixes = plan_prefixes(config, tasks, {name: size for name, (_, size) in before.items()})
    pictures = count_pictures(config, model, collate, tasks, calibration)
    with torch.no_grad():
        for task in measured:
            answer_logits(model, _first(task, collate, config.train.batch_size).to(model.device))
    rehearsal = build_rehearsal(config, model, method, collate, tasks, calibration)
    size, accumulate = config.train.batch_size, config.train.accumulate
    dataset = TaskDataset(
        tasks,
        collate,
        size,
        config.seed,
        accumulate=accumulate,
        rehearsal=rehearsal,
        buckets=config.train.length_buckets,
    )
    step, memory, counted = _steps(config, model, method, list(itertools.islice(dataset, 2)))
    return RunPlan(
        config.method, str(model.device), base, _by_kind(trained), sum(beside.values()) - sensors, layers, memory,
        counted, _saved(model, method, layers), tokens, {name: count for name, (count, _) in before.items()}, prepare,
        step * accumulate, config.train.steps, neurons, sensors, pictures, prefixes,
    )  # fmt: skip


def _steps(
    config: RecomposeConfig, model: SensorModel, method: Method, batches: Sequence[Batch]
) -> tuple[float, int, bool]:
    """Seconds of the second step, bytes at the peak, and whether the device counted these."""
    task, device, kept, seconds = StageTwo(model, method, config), model.device, 0, 0.0
    model.train()
    trains = any(p.requires_grad for p in model.parameters())
    optimizer = task.configure_optimizers()["optimizer"] if trains else None
    counts = device.type == "cuda"
    if counts:
        torch.cuda.reset_peak_memory_stats(device)
    for batch in batches:
        start = time.perf_counter()
        with _precision(config.train.precision, device), _kept(model) as sizes:
            moved = batch.to(device)
            loss, distance = task.losses(moved)[0], task.rehearse(moved)
            loss = loss if distance is None else loss + config.train.rehearse.weight * distance
        if optimizer is not None:
            loss.backward()
            method.after_backward(model.llm)
            optimizer.step()
            optimizer.zero_grad()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds, kept = time.perf_counter() - start, max(kept, sum(sizes.values()))
    model.eval()
    if counts:
        return seconds, torch.cuda.max_memory_allocated(device), True
    weights = sum(map(bytes_of, itertools.chain(model.parameters(), model.buffers())))
    learned = sum(p.numel() * entry_bytes(p.dtype) for p in model.parameters() if p.requires_grad)
    own = frozenset(map(id, itertools.chain(model.parameters(), model.buffers())))
    return seconds, weights + learned + _bytes(vars(method), own) + kept, False


@contextlib.contextmanager
def _kept(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage of what is kept for the backward pass within it, the model's own tensors aside."""
    held = itertools.chain(model.parameters(), model.buffers())
    own = {part.untyped_storage().data_ptr() for t in held for part in stored_parts(t).values()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        for storage in (part.untyped_storage() for part in stored_parts(tensor).values()):
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def _precision(name: str, device: torch.device) -> Any:
    if "mixed" not in name:
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if name.startswith("bf16") else torch.float16)


def _saved(model: SensorModel, method: Method, layers: Sequence[LayerPlan]) -> int | None:
    """Bytes of what the finished run keeps beside the base."""
    bridge = _bytes(sensor_weights(model))
    if layers:
        return bridge + sum(layer.delta for layer in layers)
    model.llm = method.finish(model.llm)
    changed = method.changed(model.llm)
    return None if changed is None else bridge + _bytes(changed)


def _bytes(value: Any, own: frozenset[int] = frozenset()) -> int:
    """Bytes of all tensors that a value holds, but for the model's `own`, by id."""
    if isinstance(value, Tensor):
        return 0 if id(value) in own else value.numel() * value.element_size()
    if isinstance(value, nn.Module):
        return _bytes(list(value.parameters()), own)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(_bytes(part, own) for part in parts)


def _first(task: Task, collate: Collator, count: int) -> Batch:
    return collate(list(itertools.islice(task.read(), count)))


def _tokens(task: Task, collate: Collator) -> float:
    batch = _first(task, collate, SAMPLES)
    return float(batch.inputs["attention_mask"].sum()) / len(batch.keys)


def _aside(before: float) -> str:
    return f" ({before:.0f} before the sensor, read without gradients)" if before else ""


def _by_kind(trained: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Parameters by kind of module: what stands after the number of its layer, a method's own parts aside."""
    found: dict[str, int] = {}
    for name, count in trained:
        parts = [part for part in name.split(".")[:-1] if not part.isdigit()]
        named = [part for part in parts if part.endswith(("proj", "norm", "tokens", "head"))]
        kind = named[-1] if named else parts[-1] if parts else name
        found[kind] = found.get(kind, 0) + count
    return found


def _most(trained: Mapping[str, int], shown: int = 12) -> list[tuple[str, str]]:
    """The kinds with most parameters, the others together."""
    ordered = sorted(trained.items(), key=lambda item: -item[1])
    rest = sum(count for _, count in ordered[shown:])
    rows = [*ordered[:shown], *([("others", rest)] if rest else []), ("all", sum(trained.values()))]
    return [(name, f"{count:,}") for name, count in rows]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
