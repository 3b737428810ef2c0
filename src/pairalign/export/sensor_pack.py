"""Sensor packs: a finished run of stage two as a folder that others install into the same base model.

    export_pack("runs/touch", "packs/touch")
    model, processor = load_sensor_model("llava-hf/llava-1.5-7b-hf", ["packs/touch"])
    uninstall_pack(model, processor, "touch")          # the base again, bit for bit

Where it bites: the base is compared by the hashes of the weights that the delta changes and of its embedding table;
another fine-tune of the same model is another base.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pairalign import __version__
from pairalign.align.run import load_aligned
from pairalign.align.store import git_commit
from pairalign.core.config import to_dict
from pairalign.core.errors import CheckpointError, ConfigError, PackError, RegistryError
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.export.card import write_card
from pairalign.export.manifest import FORMAT, Manifest, read_manifest, write_manifest
from pairalign.files import replacing, sha256_file
from pairalign.finetune.run import RecomposeRun, load_recomposed
from pairalign.runtime import DeviceLike, find_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import PLAIN, Loading, SensorProcessor, load_base
from pairalign.sensors.sensor import Sense, SenseRecipe, build_sense, embedding_of

SENSE = "sense.safetensors"


def export_pack(
    run: RecomposeRun | str | Path,
    out: str | Path,
    *,
    merge: bool = False,
    device: DeviceLike = "cpu",
    trust_remote_code: bool = False,
) -> Path:
    """Write the pack of a finished run; with `merge` also a plain Hugging Face checkpoint in `out/merged`.

    device, trust_remote_code: of a run that is loaded from its folder, see `load_recomposed`.
    Raise `PackError` if `out` holds something already, `CheckpointError` if the run is unfinished.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise PackError(f"out={str(out)!r} holds something already: give an empty or new folder.")
    run = run if isinstance(run, RecomposeRun) else load_recomposed(run, device, trust_remote_code=trust_remote_code)
    with replacing(out) as partial:
        partial.mkdir()
        _write(run, partial, out.name)
        if merge:
            save_merged(run.model, run.processor, partial / "merged")
    return out


def _write(run: RecomposeRun, folder: Path, name: str) -> None:
    """Everything of a pack that will be called `name`, into a folder that is not yet called so."""
    senses: dict[str, Sense] = dict(run.model.senses.items())  # type: ignore[arg-type]
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in run.model.senses.state_dict().items()}
    save_file(tensors, folder / SENSE)
    delta = None
    if isinstance(run.model.llm, DormantModel):
        delta = next(iter(run.model.llm.dormant))
        run.model.llm.save_pretrained(folder, delta)
    for kept in ("receipt.json", "results.json"):
        if (run.folder / kept).is_file():
            shutil.copyfile(run.folder / kept, folder / kept)
    stages = {name: load_aligned(Path(run.config.root) / s.run) for name, s in run.config.senses.items()}
    manifest = Manifest(
        format=FORMAT,
        senses={name: _recipe(name, sense) for name, sense in senses.items()},
        signals={name: to_dict(sense.encoder.signal) for name, sense in senses.items()},
        base=base_of(run.model, run.config.base),
        delta=delta,
        licences={name: str(sense.encoder.card.get("licence", "not stated")) for name, sense in senses.items()},
        temperature={
            f"{name}: {edge}": float(scale().detach())
            for name, s in stages.items()
            for edge, scale in s.aligner.scales.items()
        },
        figures={key: run.results[key] for key in ("learning", "forgetting", "trained") if key in run.results},
        provenance={
            "pairalign": __version__,
            "git": git_commit(),
            "seed": run.config.seed,
            "method": run.config.method,
            "dormant": to_dict(run.config.dormant) if delta else None,
            "origin": run.model.llm.origins[delta] if isinstance(run.model.llm, DormantModel) and delta else None,
            "stage_one": {name: to_dict(s.config) for name, s in stages.items()},
            "tasks": {name: to_dict(task) for name, task in run.config.tasks.items()},
        },
    )
    write_card(manifest, run.results, folder, name)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    write_manifest(Manifest(**{**vars(manifest), "files": files}), folder)


def _recipe(name: str, sense: Sense) -> SenseRecipe:
    if sense.recipe is None:
        raise PackError(f"sensor {name!r} was put together by hand: give its Sense a recipe to export it.")
    return sense.recipe


def base_of(model: SensorModel, name: str) -> dict[str, str]:
    """What tells a base from another: its name, class, and the SHA-256 of its embedding table."""
    llm = model.llm.base_model if isinstance(model.llm, DormantModel) else model.llm
    weight = embedding_of(llm).weight
    dtype = str(weight.dtype).removeprefix("torch.")
    return {"name": name, "class": type(llm).__name__, "dtype": dtype, "embedding": fingerprint(weight)}


def install_pack(model: SensorModel, processor: SensorProcessor, folder: str | Path) -> tuple[str, ...]:
    """Install a pack; return its sensors. Raise `PackError` or `DeltaError`, with the model as it was, if it does not
    fit. Installed packs keep their weights: two packs may not own the same entry.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in manifest.senses:
        if name in model.senses:
            raise ConfigError(f"sensor {name!r} is installed already: uninstall it first.")
    mine = base_of(model, "")
    wanted = manifest.base
    if any(mine[part] != wanted[part] for part in ("class", "dtype", "embedding")):
        raise PackError(
            f"pack {str(folder)!r} was made for the base {wanted['name']!r} ({wanted['class']} in {wanted['dtype']}), "
            f"and this {mine['class']} in {mine['dtype']} is another: load that base."
        )
    senses = _load_senses(manifest, model, folder)
    if manifest.delta is not None:
        llm = model.llm if isinstance(model.llm, DormantModel) else DormantModel(model.llm)
        llm.install(folder)
        model.llm = llm
    for name, sense in senses.items():
        model.add(name, sense, processor.add(name, sense))
    model.eval()
    return tuple(senses)


def _load_senses(manifest: Manifest, model: SensorModel, folder: Path) -> dict[str, Sense]:
    try:
        tensors = load_file(folder / SENSE)
    except (SafetensorError, OSError) as error:
        raise PackError(f"{folder / SENSE} is damaged ({error}): copy the pack again.") from error
    made = {}
    for name, recipe in manifest.senses.items():
        try:
            sense = build_sense(recipe, model.llm)
        except RegistryError as error:
            raise PackError(f"pack {str(folder)!r}: {error} Name the file that registers it with --plugin.") from error
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            sense.load_state_dict(own)
        except RuntimeError as error:
            raise PackError(f"{folder / SENSE} does not fit the encoder {recipe.encoder!r} of this version.") from error
        made[name] = sense.requires_grad_(False)
    return made


def uninstall_pack(model: SensorModel, processor: SensorProcessor, sensor: str) -> None:
    """Take a pack away, all sensors that came with `sensor`; the base's weights are then what they were, to the bit."""
    if sensor not in model.senses:
        model.remove(sensor)  # says which there are
    delta = None
    if isinstance(model.llm, DormantModel):
        delta = next((name for name in model.llm.dormant if sensor in name.split("+")), None)
    for name in delta.split("+") if delta else [sensor]:
        model.remove(name)
        processor.remove(name)
    if isinstance(model.llm, DormantModel) and delta is not None:
        model.llm.uninstall(delta)
        if not model.llm.dormant:
            model.llm = model.llm.unload()


def load_sensor_model(
    base: str,
    packs: Sequence[str | Path],
    *,
    dtype: str | None = None,
    device: DeviceLike = "cpu",
    loading: Loading = PLAIN,
) -> tuple[SensorModel, SensorProcessor]:
    """A base by hub name or folder with packs installed, in evaluation mode, and its processor.

    dtype: of the base's weights; by default that which the first pack was made for. device: where all of it goes, see
    `find_device`. loading: how the base is loaded.
    """
    if dtype is None:
        dtype = read_manifest(packs[0]).base["dtype"] if packs else "auto"
    llm, processor = load_base(base, dtype, find_device(device), loading)
    model, sensing = SensorModel(llm), SensorProcessor(processor, {})
    for pack in packs:
        install_pack(model, sensing, pack)
    return model.eval(), sensing


def save_merged(model: SensorModel, processor: SensorProcessor, folder: Path) -> None:
    """The language model with its deltas in its weights as a plain Hugging Face checkpoint, and the base's processor.

    The model in memory keeps its deltas apart.
    """
    import copy

    if not isinstance(model.llm, DormantModel):
        raise CheckpointError("merge: nothing is to be merged, the language model has no delta.")
    plain: Any = copy.deepcopy(model.llm).merge_and_unload()
    plain.save_pretrained(folder)
    processor.base.save_pretrained(folder)
