"""What a finished run of stage two becomes on its way out: sensors, delta, merged model, manifest and card.

    dormant: a delta that others install into the base; merged as well, where that is asked
    full, LoRA and the like: only the merged model, and the sensors that go with it
    bridge: the sensors alone

Note:
    What cannot be written is refused by the method's name, before anything is read or written.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from pairalign import __version__
from pairalign.align.modality import read_run, read_scales
from pairalign.core.config import to_dict
from pairalign.core.errors import PackError
from pairalign.core.registry import code_hash
from pairalign.dormant.checkpoint import CONFIG
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.export.card import write_card
from pairalign.export.local import check_options, name_base, without_paths
from pairalign.export.manifest import FORMAT, MERGED, SENSORS, Manifest, write_manifest
from pairalign.export.same_base import base_of, write_cells
from pairalign.files import save_tensors, sha256_file, write_json
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.load import RecomposeRun
from pairalign.finetune.methods import create_method
from pairalign.finetune.results import tuned_sensors
from pairalign.hub.place import find_sensor_run
from pairalign.runs.versions import git_commit
from pairalign.sensors.sensor import Sensor, SensorRecipe
from pairalign.sharding import whole

PLACES = ("_name_or_path", "name_or_path")  # where transformers found a base


class Merged(NamedTuple):
    """The plain model with all updates in its weights, what results are to say of it, and what was merged in beside the
    run: manifests of sensor packs."""

    llm: nn.Module
    told: dict[str, Any]
    others: tuple[Manifest, ...] = ()


def check_exportable(config: RecomposeConfig, *, merge: bool, lora: bool = False, others: bool = False) -> None:
    """Raise `PackError` for a run that cannot be written so, saying what can."""
    leaves, method = create_method(config.method, config.options).leaves, f"method {config.method!r}"
    if leaves == "modules":
        raise PackError(
            f"{method} adds layers that neither a pack nor a plain checkpoint holds: use the run itself, with "
            "load_recomposed or `pairalign describe RUN`, or train with method dormant or lora."
        )
    if leaves == "weights" and not merge:
        raise PackError(
            f"{method} changed the model's own weights, which a pack does not hold: pass --merge, which writes the "
            f"whole model beside the sensor, into PACK/{MERGED}."
        )
    if leaves != "delta" and (lora or others):
        what = "--lora" if lora else "--with"
        raise PackError(
            f"{what}: {method} left no update beside the base's weights, as method 'dormant' does: leave {what} out."
        )
    if config.load_in is not None and (merge or lora):
        what = "--merge" if merge else "--lora"
        raise PackError(
            f"{what}: the run trained beside a base in {config.load_in}, into which nothing is merged: export the pack "
            f"without {what}, and install it into the unquantised base."
        )
    if others and not merge:
        raise PackError("--with: names packs that are merged in: pass --merge, too, or install them beside this one.")
    if leaves == "base" and merge:
        raise PackError(
            f"--merge: {method} changed nothing of the language model: leave it out, the base is the model."
        )


def merge_run(run: RecomposeRun) -> nn.Module:
    """The plain model of a run; the one in memory keeps its deltas apart. Raise `DormantError` where several share
    weights, or the base is quantised."""
    llm = run.model.llm
    if not isinstance(llm, DormantModel):
        return llm
    llm.check_mergeable()
    llm.check_disjoint()
    return copy.deepcopy(llm).merge_and_unload().eval()


def write_pack(run: RecomposeRun, folder: Path, name: str, *, merged: Merged | None = None) -> None:
    """Everything of a pack that will be called `name`, into a folder that is not yet called so.

    merged: what goes into `merged/`, nothing if `None`.
    """
    told = {} if merged is None else merged.told
    results = {**run.results, **told}
    sensors: dict[str, Sensor] = dict(run.model.sensors.items())  # type: ignore[arg-type]
    recipes = {sensor: _recipe(sensor, module) for sensor, module in sensors.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in run.model.sensors.state_dict().items()}
    save_tensors(folder / SENSORS, tensors)
    write_cells(run.model, folder)
    delta = _write_delta(run.model.llm, folder)
    for kept in ("receipt.json", "results.json"):
        if (run.folder / kept).is_file():
            shutil.copyfile(run.folder / kept, folder / kept)
    if told:
        write_json(folder / "results.json", results)
    others = () if merged is None else merged.others
    manifest = Manifest(
        format=FORMAT,
        senses=recipes,
        signals={sensor: to_dict(module.encoder.signal) for sensor, module in sensors.items()},
        base={**base_of(run.model), **name_base(run.config.base)},
        delta=delta,
        method=run.config.method,
        merged={} if merged is None else _write_merged(run, merged.llm, folder / MERGED),
        plugins=tuple(dict.fromkeys((*_plugins(run.config), *(name for other in others for name in other.plugins)))),
        code={sensor: code_hash(recipe.encoder) for sensor, recipe in recipes.items()},
        licences={sensor: str(module.encoder.card.get("licence", "not stated")) for sensor, module in sensors.items()},
        temperature=_temperature(run.config) | {k: v for other in others for k, v in other.temperature.items()},
        figures={key: run.results[key] for key in ("learning", "forgetting", "trained", "kept") if key in run.results},
        provenance=_provenance(run, delta, others),
    )
    write_card(manifest, results, folder, name)
    written = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in written}
    write_manifest(Manifest(**{**vars(manifest), "files": files}), folder)


def _recipe(name: str, module: Sensor) -> SensorRecipe:
    if module.recipe is None:
        raise PackError(f"sensor {name!r} was put together by hand: give its Sensor a recipe to export it.")
    recipe = replace(module.recipe, options=module.encoder.bare(module.recipe.options))
    check_options(name, recipe.options)
    return recipe


def _write_delta(llm: nn.Module, folder: Path) -> str | None:
    if not isinstance(llm, DormantModel) or len(llm.dormant) > 1:  # several go merged alone
        return None
    delta = next(iter(llm.dormant))
    llm.save_pretrained(folder, delta)
    record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, {**record, "origin": without_paths(record["origin"])})
    return delta


def _write_merged(run: RecomposeRun, plain: Any, folder: Path) -> dict[str, str]:
    """A plain Hugging Face checkpoint, and the base's processor; the SHA-256 of each weight that is not the base's."""
    plain.save_pretrained(folder)
    run.processor.base.save_pretrained(folder)
    for path in folder.glob("*config.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, {key: without_paths(v) if key in PLACES else v for key, v in told.items()}, ensure_ascii=False)
    weights = {name: weight_of(plain, name) for name in _changed(run)}
    return {name: fingerprint(weight) for name, weight in weights.items() if weight is not None}


def _changed(run: RecomposeRun) -> list[str]:
    """The weights of the language model that are not the base's."""
    llm = run.model.llm
    if isinstance(llm, DormantModel):
        return [f"{name}.weight" for sensor in llm.dormant for name in llm.updates(sensor)]
    return list(create_method(run.config.method, run.config.options).changed(llm))


def weight_of(llm: nn.Module, name: str) -> Tensor | None:
    """A weight of the plain model by name, as it was before any delta; `None` if there is none."""
    parent, _, last = name.rpartition(".")
    try:
        layer = llm.get_submodule(parent)
    except AttributeError:
        return None
    found = getattr(layer, last, None)
    return whole(found.detach()) if isinstance(found, Tensor) else None


def _runs(config: RecomposeConfig) -> dict[str, Path]:
    """Where the stage-one run of each sensor is."""
    return {name: find_sensor_run(one.run, config.root) for name, one in config.sensors.items()}


def _plugins(config: RecomposeConfig) -> tuple[str, ...]:
    """Plugins of both stages, files by their names."""
    stages = [read_run(folder) for folder in _runs(config).values()]
    found = [*config.plugins, *(plugin for stage in stages for plugin in stage.plugins)]
    return tuple(dict.fromkeys(Path(plugin).name if plugin.endswith(".py") else plugin for plugin in found))


def _temperature(config: RecomposeConfig) -> dict[str, float]:
    return {
        f"{name}: {edge}": scale
        for name, folder in _runs(config).items()
        for edge, scale in read_scales(folder).items()
    }


def _provenance(run: RecomposeRun, delta: str | None, others: Sequence[Manifest] = ()) -> dict[str, Any]:
    llm, config = run.model.llm, run.config
    stages: Mapping[str, Any] = {name: to_dict(read_run(folder)) for name, folder in _runs(config).items()}
    told = {
        "pairalign": __version__,
        "git": git_commit(),
        "seed": config.seed,
        "method": config.method,
        "dormant": to_dict(config.dormant) if isinstance(llm, DormantModel) else None,
        "origin": llm.origins[delta] if isinstance(llm, DormantModel) and delta else None,
        "stage_one": stages,
        "tasks": {name: to_dict(task) for name, task in config.tasks.items()},
        "tuned": tuned_sensors(run.model),
    }
    if others:
        told["merged_in"] = {"+".join(other.sensors): other.provenance for other in others}
    plain: dict[str, Any] = without_paths(told)
    return plain
