"""What the base answers, kept in a folder under the name of what it was made of, so that no other run measures it anew.

The name is a hash of every weight of the base and its settings, of the processor's files, of the task with the bytes of
its shards, of batch size and lengths, of device, number of processes and versions; and, for a task that shows a sensor,
of that sensor's encoder, head and fresh bridge.

Note:
    What is kept was rounded as that device and that batch rounded it. Two runs that begin at the same time both
    measure, and leave the same file. Nothing is ever thrown away; a file that is damaged is said so and made anew.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pairalign import __version__
from pairalign.core.config import to_dict
from pairalign.core.errors import StorageError
from pairalign.core.limits import parse_json
from pairalign.core.registry import code_hash
from pairalign.data.index import load_index, shards_at
from pairalign.dormant.cache import key_of
from pairalign.dormant.provenance import fingerprint
from pairalign.files import partial_of, remove, save_tensors, sha256_file, sha256_text
from pairalign.finetune.base_answers import BaseAnswers
from pairalign.finetune.base_measured import BaseMeasured, measure_base
from pairalign.finetune.measure import TaskScore
from pairalign.finetune.questions import Questions
from pairalign.finetune.tasks import Task
from pairalign.runtime import Runtime, describe_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

FORMAT = 1  # of the file, and of what is measured: another number measures anew
ABOUT, DIGEST = "about", "sha256"
LIBRARIES = ("torch", "transformers", "tokenizers", "pillow")
PLACES = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")  # of a model's settings: no part of it


@dataclass(frozen=True)
class BaseCache:
    """folder: where files lie. base: a hash of the base, its processor, and where it computes, see `base_key`. own: it
    is this run's folder, of which nothing has to be told."""

    folder: Path
    base: str
    own: bool = False

    def path(self, model: SensorModel, questions: Questions, **asked: Any) -> Path:
        """The file of one task, there or not. asked: the settings of `measure_base`."""
        processor: SensorProcessor = questions.collate.processor
        sensors = {name: _sensor(name, model, processor) for name in sorted(set(questions.task.sensor.values()))}
        key = key_of([self.base, _task(questions.task), questions.size, asked, sensors])
        return self.folder / f"base-{key}.safetensors"

    def load(self, path: Path) -> BaseMeasured | None:
        """What a file holds, `None` where it is not there; says so where it is damaged."""
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if told[DIGEST] != _digest(path, told[ABOUT], tensors):
                raise ValueError("its content is not what was written")
            about = parse_json(told[ABOUT])
            answers = BaseAnswers.from_state(tensors) if tensors else None
            return BaseMeasured(TaskScore.from_dict(about["score"]), answers, about["when"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            print(f"{str(path)!r} is damaged ({error}): the base is measured anew.", file=sys.stderr)
            return None

    def keep(self, path: Path, task: str, measured: BaseMeasured) -> None:
        """Write a file; says so where it cannot be, which costs other runs a measurement and this one nothing."""
        tensors = {} if measured.answers is None else measured.answers.state()
        about = json.dumps({"task": task, "when": measured.when, "score": measured.score.to_dict()})
        try:
            save_tensors(path, tensors, {ABOUT: about, DIGEST: _digest(path, about, tensors)})
        except StorageError as error:
            print(f"what the base answers is not kept: {error}", file=sys.stderr)


def measured_once(
    cache: BaseCache | None, model: SensorModel, questions: Questions, runtime: Runtime, **asked: Any
) -> tuple[BaseMeasured, str | None]:
    """What `measure_base` gives, and the file that it came from, `None` where this run measured it.

    cache: of the main process, which alone reads and writes; all get the same.
    """
    path = None if cache is None else cache.path(model, questions, **asked)
    place = None if cache is None or cache.own else str(path)
    known, place = runtime.main_only(lambda: (None if cache is None or path is None else cache.load(path), place))
    if known is not None:
        return known, place
    found = measure_base(model, questions, **asked, runtime=runtime)
    if cache is not None and path is not None:
        cache.keep(path, questions.task.name, found)
    return found, None


def open_base_cache(
    folder: str | Path,
    model: SensorModel,
    processor: SensorProcessor,
    hashes: Mapping[str, str],
    runtime: Runtime,
    dtype: torch.dtype | None = None,
    *,
    own: bool = False,
) -> BaseCache | None:
    """The cache in `folder` for a base that no method has changed yet; `None` for one that cannot be told from others,
    because its code lies in no file or its processor cannot be written, which is said unless it is the run's `own`.

    hashes: of its weights, from `fingerprint_base`. dtype: that they are yet to be converted to; `None` as they are.
    """
    try:
        return BaseCache(Path(folder), base_key(model, processor, hashes, runtime, dtype, Path(folder)), own)
    except (OSError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        if not own:
            print(f"the base is measured anew, for it cannot be told from others: {error}", file=sys.stderr)
        return None


def base_key(
    model: SensorModel,
    processor: SensorProcessor,
    hashes: Mapping[str, str],
    runtime: Runtime,
    dtype: torch.dtype | None = None,
    home: Path | None = None,
) -> str:
    """A hash of what every answer of the base depends on, tasks and sensors aside.

    home: where the processor may be written for a moment, if there is no room where the system keeps such files.
    """
    llm: Any = model.llm
    device = describe_device(torch.device(runtime.device.type))  # its kind, whichever of them it is
    parts = {
        "format": FORMAT,
        "versions": [__version__, *map(version, LIBRARIES)],
        "weights": dict(hashes),
        "dtype": str(dtype or next(llm.parameters()).dtype),
        "settings": [_plain(llm.config), _plain(getattr(llm, "generation_config", None))],
        "attention": getattr(llm.config, "_attn_implementation", None),
        "code": [_code(llm), _code(processor.base)],
        "processor": _files(processor.base, home),
        "device": [device, torch.get_float32_matmul_precision()],
        "parts": getattr(llm, "hf_device_map", None),
        "processes": runtime.world,
    }
    return key_of(parts)


def _plain(settings: Any) -> Any:
    """A model's settings, those of its parts too, without where they come from."""
    if hasattr(settings, "to_dict"):
        settings = settings.to_dict()
    if isinstance(settings, Mapping):
        return {str(name): _plain(value) for name, value in settings.items() if name not in PLACES}
    return [_plain(value) for value in settings] if isinstance(settings, list | tuple) else settings


def _code(thing: Any) -> str | None:
    """A hash of the code that comes with a base; `None` for transformers' own, whose version is known."""
    kind = type(thing)
    if kind.__module__.partition(".")[0] == "transformers":
        return None
    home = Path(inspect.getfile(kind)).parent
    return key_of([kind.__qualname__, {path.name: sha256_file(path) for path in sorted(home.glob("*.py"))}])


def _files(processor: Any, home: Path | None = None) -> dict[str, str]:
    """Hashes of what a processor would write: vocabulary, chat template, sizes of pictures."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _saved(processor, Path(folder))
    except Exception as error:  # that of tokenizers has no kind of its own
        if home is None:
            raise ValueError(f"its processor cannot be written ({error})") from error
    missing, partial = [one for one in (home, *home.parents) if not one.exists()], partial_of(home / "processor")
    try:
        partial.mkdir(parents=True)
        return _saved(processor, partial)
    except Exception as error:
        raise ValueError(f"its processor cannot be written ({error})") from error
    finally:
        remove(partial)
        for empty in missing:
            with suppress(OSError):  # another process has begun to use it
                empty.rmdir()


def _saved(processor: Any, folder: Path) -> dict[str, str]:
    processor.save_pretrained(folder)
    return {path.name: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _task(task: Task) -> list[Any]:
    """A task, and the bytes that it reads."""
    index = load_index(task.folder)
    fields = {name: asdict(index.modalities[name]) for name in task.fields}
    return [task.name, {**to_dict(task.config), "weight": 1.0, "shards": ""}, task.sensor, fields, list(_shards(task))]


def _shards(task: Task) -> Iterator[list[Any]]:
    """The shards up to the task's limit; those of a folder by their bytes, others by what their index says, which is
    checked when they are fetched."""
    index, left = load_index(task.folder), len(task)
    home = shards_at(task.folder, index)
    local = home if isinstance(home, Path) else None if home.scheme else Path(home.base)
    for shard in index.split(task.config.split, task.folder).shards:
        if left > 0:
            yield [shard.count, shard.sha256 if local is None else sha256_file(local / shard.name)]
        left -= shard.count


def _sensor(name: str, model: SensorModel, processor: SensorProcessor) -> list[Any]:
    module: Any = model.sensors[name]
    return [to_dict(module.recipe), code_hash(module.recipe.encoder), processor.placeholders[name], _weights(module)]


def _weights(module: nn.Module) -> dict[str, Any]:
    return {name: [str(t.dtype), list(t.shape), fingerprint(t)] for name, t in module.state_dict().items()}


def _digest(path: Path, about: str, tensors: Mapping[str, Tensor]) -> str:
    """Of a file's name and content."""
    return sha256_text(json.dumps([path.name, about, {name: fingerprint(t) for name, t in sorted(tensors.items())}]))
