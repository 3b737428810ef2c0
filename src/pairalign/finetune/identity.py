"""What a run of stage two is made from: plugins, the base, stage-one runs, the shards of every task, a score file.

Note:
    A base of many gigabytes is told by its configuration and by samples of its weights, which any further training
    changes; one on the hub by what the cache holds, and not at all before it was fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pairalign.align.identity import Part, encoder_hashes, shard_hash
from pairalign.core.config import AlignConfig, load_config, to_dict
from pairalign.core.errors import PairalignError
from pairalign.core.sources import sources_of
from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace, find_place
from pairalign.dormant.reserved import deltas_hash
from pairalign.files import sha256_file, sha256_text
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.installed import installed_folders
from pairalign.hub.place import find_sensor_run
from pairalign.runs.folder import CONFIG, DONE, RunFolder
from pairalign.runs.identity import GONE, Identity, hashes
from pairalign.runs.plugins import load_plugins

PARTS = ("tasks", "validation", "held_out", "calibration")
RESULTS = DONE["recompose"]
TRAINED = tuple(f"{name}.safetensors" for name in ("bridge", "trained", "carried", "dormant/dormant_model"))
BLOCK, BLOCKS = 2**16, 64  # bytes of each sample of a weights file, and how many samples


def recompose_identity(config: RecomposeConfig) -> Identity:
    """Of a run that may not have begun; what is not there is `GONE`. Loads the plugins."""
    plugins = load_plugins(config.plugins)
    found = plugins | hashes(_parts(config))
    if GONE not in plugins.values():
        found |= encoder_hashes(dict(_encoders(config)))
    return Identity(to_dict(config), found)


def _parts(config: RecomposeConfig) -> Iterator[Part]:
    root = Path(config.root)
    yield "base", partial(base_hash, config.base)
    for name, sensor in config.sensors.items():
        yield f"stage-one run of {name}", partial(_run_hash, sensor.run, root)
        if sensor.images is not None:
            yield f"images of {name}", partial(_content, find_place(sensor.images, config.root))
    for part in PARTS:
        for name, task in getattr(config, part).items():
            yield f"shards of {part}.{name}", partial(task_hash, task, config.root)
    if config.installed:
        yield "installed packs", partial(deltas_hash, installed_folders(config))
    if config.scores is not None:
        yield "scores", partial(sha256_file, config.scores)
    if config.start is not None:
        yield "run that it starts from", partial(trained_hash, root / config.start.run)


def _run_hash(run: str, root: Path) -> str:
    return sha256_file(find_sensor_run(run, root) / "model.safetensors")


def trained_hash(folder: Path) -> str:
    """Of everything that a finished run trained."""
    found = [folder / name for name in TRAINED if (folder / name).is_file()]
    return sha256_text(json.dumps([(path.name, sha256_file(path)) for path in (folder / RESULTS, *found)]))


def task_hash(task: TaskConfig, root: str) -> str:
    """Of the shards of a task, and of a list how much is drawn of each source and which sensor it is of."""
    found = [(find_place(s.path, root), s.split or task.split, s.weight, s.sensor) for s in sources_of(task.shards)]
    if isinstance(task.shards, str):
        return shard_hash(*found[0][:2])
    return sha256_text(json.dumps([(shard_hash(place, split), *rest) for place, split, *rest in found]))


def _content(folder: ShardPlace) -> str:
    return load_index(folder).content_hash


def _encoders(config: RecomposeConfig) -> Iterator[tuple[str, str]]:
    """The registered encoder of every sensor, with the plugins of its stage-one run loaded."""
    for name, sensor in config.sensors.items():
        try:
            run = RunFolder(find_sensor_run(sensor.run, config.root), "align", AlignConfig)
            told = load_config(AlignConfig, run.path / CONFIG)
            load_plugins(run.to_load(told.plugins, config.plugins))
            yield name, told.modalities[sensor.modality or name].encoder
        except (PairalignError, OSError, KeyError):
            continue  # a run that is gone is told by its weights; why it cannot be loaded, when it is


def base_hash(base: str) -> str | None:
    """SHA-256 over a base's configuration and samples of its weights; None for a hub name that was not fetched yet."""
    folder = Path(base) if Path(base).is_dir() else _cached(base)
    if folder is None:
        return None
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        digest.update(f"{path.name} {path.stat().st_size} ".encode())
        if path.suffix == ".safetensors":
            _sample(path, digest.update)
        elif path.name in ("config.json", "model.safetensors.index.json"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _sample(path: Path, update: Callable[[bytes], object]) -> None:
    """Equally spaced blocks, the first with the names and shapes of the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek(max(0, size - BLOCK) * number // (BLOCKS - 1))
            update(file.read(BLOCK))


def _cached(base: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(base, "config.json")
    except HFValidationError:  # no hub name: the path of a folder that is not there
        return None
    return Path(found).parent if isinstance(found, str) else None
