"""Sensor packs: a finished run of stage two as a folder that others install into the same base model.

    export_pack("runs/touch", "packs/touch")
    model, processor = load_sensor_model("llava-hf/llava-1.5-7b-hf", ["packs/touch"])
    uninstall_pack(model, processor, "touch")          # the base again, bit for bit

Where it bites: the base is compared by the hashes of the weights that the delta changes and of its embedding table;
another fine-tune of the same model is another base.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError, DeltaError, PackError, PairalignError, RegistryError
from pairalign.core.registry import code_hash
from pairalign.dormant.checkpoint import read_sensor
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.export.checked import check_merged, check_recipe
from pairalign.export.manifest import MERGED, NAME, SENSE, Manifest, read_manifest
from pairalign.export.write import base_of, check_exportable, weight_of, write_pack
from pairalign.files import replacing
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import RecomposeRun, load_recomposed
from pairalign.runs.lock import alone_at_out
from pairalign.runtime import DeviceLike, find_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import PLAIN, Loading, SensorProcessor, load_base
from pairalign.sensors.sensor import Sense, build_sense


@alone_at_out
def export_pack(
    run: RecomposeRun | str | Path,
    out: str | Path,
    *,
    merge: bool = False,
    device: DeviceLike = "cpu",
    trust_remote_code: bool = False,
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Write the pack of a finished run; with `merge` also a plain Hugging Face checkpoint in `out/merged`, which the
    pack goes with, too.

    device, trust_remote_code: of a run that is loaded from its folder, see `load_recomposed`.
    Raise `PackError` if `out` holds something already or the run's method cannot be written so, before anything is;
    `CheckpointError` if the run is unfinished.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise PackError(f"out={str(out)!r} holds something already: give an empty or new folder.")
    if not isinstance(run, RecomposeRun):
        told = Path(run) / "config.yaml"
        if told.is_file():
            check_exportable(load_config(RecomposeConfig, told), merge=merge)
        run = load_recomposed(run, device, plugins=plugins, trust_remote_code=trust_remote_code)
    check_exportable(run.config, merge=merge)
    with replacing(out) as partial:
        partial.mkdir()
        write_pack(run, partial, out.name, merge=merge)
    return out


def install_pack(model: SensorModel, processor: SensorProcessor, folder: str | Path) -> tuple[str, ...]:
    """Install a pack; return its sensors. Raise `PackError` or `DeltaError` if it does not fit; model and processor are
    then what they were, to the last flag and token. Packs whose weights act from their sensor on may own the same
    entries: each token is computed with those of the last sensor before it. Where one acts everywhere, each needs its
    own. A model that the delta is merged into already gets the senses alone.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in manifest.senses:
        if name in model.senses:
            raise ConfigError(f"sensor {name!r} is installed already: uninstall it first.")
    merged = _is_merged(manifest, model.llm)
    if not merged:
        _check_base(manifest, model, folder)
    if manifest.delta is not None and (found := read_sensor(folder)) != manifest.delta:
        raise DeltaError(f"pack {str(folder)!r}: its delta is of {found!r}, the manifest names {manifest.delta!r}.")
    with _undone(model, processor):
        senses = _load_senses(manifest, model, folder)
        if manifest.delta is not None and not merged:
            model.llm = model.llm if isinstance(model.llm, DormantModel) else DormantModel(model.llm)
            model.llm.install(folder)
        for name, sense in senses.items():
            model.add(name, sense, processor.add(name, sense))
        model.eval()
    return tuple(senses)


@contextmanager
def _undone(model: SensorModel, processor: SensorProcessor) -> Iterator[None]:
    """Where the block fails, take back what it did: deltas, senses, placeholders and words of the tokenizer, which
    parameters train, and which modules are in training mode."""
    plain = not isinstance(model.llm, DormantModel)
    deltas = set() if plain else set(model.llm.dormant)  # type: ignore[arg-type]
    senses, words = list(model.senses), processor.added
    training = [(part, part.training) for part in model.modules()]
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    except BaseException:
        if isinstance(model.llm, DormantModel):
            for name in [name for name in model.llm.dormant if name not in deltas]:
                model.llm.uninstall(name)
            model.llm = model.llm.unload() if plain else model.llm
        for name in [name for name in model.senses if name not in senses]:
            model.remove(name)
        processor.take_back(words, senses)
        for part, was in training:
            part.training = was
        for weight, grad in trained:
            weight.requires_grad_(grad)
        raise


def _is_merged(manifest: Manifest, llm: nn.Module) -> bool:
    """Whether a model's weights are those that the pack's method left."""
    plain = llm.base_model if isinstance(llm, DormantModel) else llm
    found = ((weight_of(plain, name), expected) for name, expected in manifest.merged.items())
    return bool(manifest.merged) and all(w is not None and fingerprint(w) == expected for w, expected in found)


def _check_base(manifest: Manifest, model: SensorModel, folder: Path) -> None:
    mine, wanted = base_of(model), manifest.base
    if manifest.whole:
        raise PackError(
            f"pack {str(folder)!r}: method {manifest.method!r} changed the model's own weights, and this "
            f"{mine['class']} has others: load {str(folder / MERGED)!r} as the base."
        )
    if any(mine[part] != wanted[part] for part in ("class", "dtype", "embedding")):
        raise PackError(
            f"pack {str(folder)!r} was made for the base {wanted['name']!r} ({wanted['class']} in {wanted['dtype']}), "
            f"and this {mine['class']} in {mine['dtype']} is another: load that base."
        )


def _load_senses(manifest: Manifest, model: SensorModel, folder: Path) -> dict[str, Sense]:
    try:
        tensors = load_file(folder / SENSE)
    except (SafetensorError, OSError) as error:
        raise PackError(f"{folder / SENSE} is damaged ({error}): copy the pack again.") from error
    made = {}
    for name, recipe in manifest.senses.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        check_recipe(name, recipe, own, f"pack {str(folder)!r}")
        try:
            sense = build_sense(recipe, model.llm)
        except RegistryError as error:
            raise PackError(f"pack {str(folder)!r}: {error} Name the file that registers it with --plugin.") from error
        except PairalignError:
            raise
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # sizes that no module can have
            what = str(error).splitlines()[0]
            raise PackError(f"pack {str(folder)!r}: {name!r} cannot be built ({what}): copy the pack again.") from error
        if manifest.code.get(name, code := code_hash(recipe.encoder)) != code:
            warnings.warn(
                f"pack {str(folder)!r}: the encoder {recipe.encoder!r} of {name!r} is not the code that the pack was "
                "made with: answers may be others.",
                stacklevel=4,
            )
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
    for pack in packs:
        if Path(base).resolve() == (Path(pack) / MERGED).resolve():
            check_merged(Path(pack), MERGED, read_manifest(pack).files, Path(pack) / NAME)
    llm, processor = load_base(base, dtype, find_device(device), loading)
    model, sensing = SensorModel(llm), SensorProcessor(processor, {})
    for pack in packs:
        install_pack(model, sensing, pack)
    return model.eval(), sensing
