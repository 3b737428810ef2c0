"""Sensor packs: a finished run of stage two as a folder that others install into the same base model.

    export_pack("runs/touch", "packs/touch")
    model, processor = load_sensor_model("llava-hf/llava-1.5-7b-hf", ["packs/touch"])
    uninstall_pack(model, processor, "touch")          # the base again, bit for bit

Note:
    The base is compared by the hashes of the weights that the delta changes and of its embedding table; another
    fine-tune of the same model is another base.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pairalign.core.arguments import check_arguments
from pairalign.core.bounds import Share
from pairalign.core.config import load_written
from pairalign.core.errors import ConfigError, DeltaError, PackError, PairalignError, RegistryError
from pairalign.core.registry import code_hash
from pairalign.dormant.checkpoint import read_sensor
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.export.checked import check_merged, check_recipe
from pairalign.export.lora import check_lora, write_lora
from pairalign.export.manifest import MERGED, NAME, SENSORS, Manifest, read_manifest
from pairalign.export.merged import measure_merged
from pairalign.export.same_base import check_base
from pairalign.export.write import Merged, check_exportable, merge_run, weight_of, write_pack
from pairalign.files import replacing
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import RecomposeRun, load_recomposed
from pairalign.hub.packs import find_pack
from pairalign.runs.lock import alone, alone_at_out
from pairalign.runtime import DeviceLike, find_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import PLAIN, Loading, SensorProcessor, load_base
from pairalign.sensors.sensor import Sensor, build_sensor


@alone_at_out
def export_pack(
    run: RecomposeRun | str | Path,
    out: str | Path,
    *,
    merge: bool = False,
    lora: str | Path | None = None,
    others: Sequence[str | Path] = (),
    device: DeviceLike = "cpu",
    trust_remote_code: bool = False,
    plugins: Sequence[str | Path] = (),
) -> Path:
    """Write the pack of a finished run.

    Merged weights act at every token, so that the run's questions are asked again of them: results and card say both.

    Args:
        run: of stage two, or its folder.
        out: a new folder.
        merge: write a plain Hugging Face checkpoint in `out/merged`, too, which the pack goes with as well.
        lora: another new folder, for the same update as a PEFT LoRA, see `pairalign.export.lora`.
        others: sensor packs that are merged in, whose weights the run left alone (`RecomposeConfig.installed`); such a
            pack goes with its merged model alone.
        device: of a run that is loaded from its folder, see `load_recomposed`.
        trust_remote_code: likewise.
        plugins: likewise.

    Returns:
        The folder.

    Raises:
        PackError: if a folder holds something already or the run cannot be written so, before anything is.
        DormantError: if merged packs share weights.
        CheckpointError: if the run is unfinished.
    """
    out = Path(out)
    _check_new(out, lora)
    how = {"merge": merge, "lora": lora is not None, "others": bool(others)}
    if not isinstance(run, RecomposeRun):
        told = Path(run) / "config.yaml"
        if told.is_file():
            check_exportable(load_written(RecomposeConfig, told), **how)
        run = load_recomposed(run, device, plugins=plugins, trust_remote_code=trust_remote_code)
    check_exportable(run.config, **how)
    with _installed(run, others) as beside:
        factors = {} if lora is None else check_lora(run.model.llm)
        plain = merge_run(run) if merge or factors else None
        apart = plain is not None and plain is not run.model.llm
        measured = measure_merged(run, plain) if plain is not None and apart else {}
        with replacing(out) as partial, _beside(lora) as folder:
            partial.mkdir()
            merged = Merged(plain, measured, beside) if merge and plain is not None else None
            write_pack(run, partial, out.name, merged=merged)
            if folder is not None and plain is not None:
                write_lora(run, plain, factors, folder, Path(str(lora)).name, measured)
    return out


def _check_new(out: Path, lora: str | Path | None) -> None:
    """Raise `PackError` unless what is to be written is new, and each a folder of its own."""
    folders = {"out": out} if lora is None else {"out": out, "lora": Path(lora)}
    for name, folder in folders.items():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise PackError(f"{name}={str(folder)!r} holds something already: give an empty or new folder.")
    if lora is not None:
        one, other = out.resolve(), Path(lora).resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise PackError(f"lora={str(lora)!r} and out={str(out)!r} lie in each other: give a folder beside it.")


@contextmanager
def _beside(lora: str | Path | None) -> Iterator[Path | None]:
    """A new folder that becomes `lora` when the block ends without an error; `None` of none."""
    if lora is None:
        yield None
        return
    with alone(lora), replacing(lora) as partial:
        partial.mkdir()
        yield partial


@contextmanager
def _installed(run: RecomposeRun, packs: Sequence[str | Path]) -> Iterator[tuple[Manifest, ...]]:
    """Within it a run's model has other packs beside its own sensors; their manifests."""
    added: list[str] = []
    try:
        for pack in packs:
            added.append(install_pack(run.model, run.processor, pack)[0])
        yield tuple(map(read_manifest, packs))
    finally:
        for sensor in added:
            uninstall_pack(run.model, run.processor, sensor)


def install_pack(
    model: SensorModel, processor: SensorProcessor, folder: str | Path, *, pull_back: Share = 1.0
) -> tuple[str, ...]:
    """Install a pack into a model and its processor.

    Packs whose weights act from their sensor on may own the same entries: each token is computed with those of the last
    sensor before it. Where one acts everywhere, each needs its own. A model that the delta is merged into already gets
    the sensors alone.

    Args:
        model: of the base that the pack was made for.
        processor: the model's.
        folder: the pack, or `ORG/NAME[@REVISION]` on the Hub.
        pull_back: share of the way from the base's weights to the pack's that they are installed at: 1 for the pack as
            it is, 0 for the base, bit for bit; between them less is forgotten, and less is known of the sensor.

    Returns:
        The names of its sensors.

    Raises:
        PackError: if it does not fit; model and processor are then what they were, to the last flag and token.
        DeltaError: likewise, of its weights.
    """
    check_arguments({"pull_back": pull_back}, {"pull_back": Share})
    folder = find_pack(folder)
    manifest = read_manifest(folder)
    for name in manifest.sensors:
        if name in model.sensors:
            raise ConfigError(f"sensor {name!r} is installed already: uninstall it first.")
    merged = _is_merged(manifest, model.llm)
    if pull_back != 1 and (merged or manifest.delta is None):
        why = "they are in the model's own weights" if merged or manifest.whole else "it has none beside its bridge"
        raise PackError(f"pull_back={pull_back:g}: pack {str(folder)!r} has no weights to take back, {why}: give 1.")
    if not merged:
        check_base(manifest, model, folder)
    if manifest.delta is not None and (found := read_sensor(folder)) != manifest.delta:
        raise DeltaError(f"pack {str(folder)!r}: its delta is of {found!r}, the manifest names {manifest.delta!r}.")
    with _undone(model, processor):
        sensors = _load_sensors(manifest, model, folder)
        if manifest.delta is not None and not merged:
            model.llm = model.llm if isinstance(model.llm, DormantModel) else DormantModel(model.llm)
            model.llm.install(folder)
            model.llm.pull_back(manifest.delta, pull_back)
        for name, module in sensors.items():
            model.add(name, module, processor.add(name, module))
        model.eval()
    return tuple(sensors)


@contextmanager
def _undone(model: SensorModel, processor: SensorProcessor) -> Iterator[None]:
    """Where the block fails, take back what it did: deltas, sensors, placeholders and words of the tokenizer, which
    parameters train, and which modules are in training mode."""
    plain = not isinstance(model.llm, DormantModel)
    deltas = set() if plain else set(model.llm.dormant)  # type: ignore[arg-type]
    sensors, words = list(model.sensors), processor.added
    training = [(part, part.training) for part in model.modules()]
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    except BaseException:
        if isinstance(model.llm, DormantModel):
            for name in [name for name in model.llm.dormant if name not in deltas]:
                model.llm.uninstall(name)
            model.llm = model.llm.unload() if plain else model.llm
        for name in [name for name in model.sensors if name not in sensors]:
            model.remove(name)
        processor.take_back(words, sensors)
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


def _load_sensors(manifest: Manifest, model: SensorModel, folder: Path) -> dict[str, Sensor]:
    try:
        tensors = load_file(folder / SENSORS)
    except (SafetensorError, OSError) as error:
        raise PackError(f"{folder / SENSORS} is damaged ({error}): copy the pack again.") from error
    made = {}
    for name, recipe in manifest.sensors.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        check_recipe(name, recipe, own, f"pack {str(folder)!r}")
        try:
            module = build_sensor(recipe, model.llm)
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
            module.load_state_dict(own)
        except RuntimeError as error:
            what = f"{folder / SENSORS} does not fit the encoder {recipe.encoder!r} of this version."
            raise PackError(what) from error
        made[name] = module.requires_grad_(False)
    return made


def uninstall_pack(model: SensorModel, processor: SensorProcessor, sensor: str) -> None:
    """Take a pack away; the base's weights are then what they were, to the bit.

    Args:
        model: that it is installed in.
        processor: the model's.
        sensor: a name of the pack's; all that came with it go, too.
    """
    if sensor not in model.sensors:
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
    pull_back: Share = 1.0,
) -> tuple[SensorModel, SensorProcessor]:
    """A base with packs installed, in evaluation mode, and its processor; each by its folder or its name on the Hub.

    Args:
        base: hub name or folder.
        packs: folders, or names on the Hub, installed in this order.
        dtype: of the base's weights; by default that which the first pack was made for.
        device: where all of it goes, see `find_device`.
        loading: how the base is loaded.
        pull_back: of every pack, see `install_pack`.

    Returns:
        Model and processor, for `answer`.
    """
    check_arguments({"pull_back": pull_back}, {"pull_back": Share})
    packs = [find_pack(pack) for pack in packs]
    if dtype is None:
        dtype = read_manifest(packs[0]).base["dtype"] if packs else "auto"
    for pack in packs:
        if Path(base).resolve() == (Path(pack) / MERGED).resolve():
            check_merged(Path(pack), MERGED, read_manifest(pack).files, Path(pack) / NAME)
    llm, processor = load_base(base, dtype, find_device(device), loading)
    model, sensing = SensorModel(llm), SensorProcessor(processor, {})
    for pack in packs:
        install_pack(model, sensing, pack, pull_back=pull_back)
    return model.eval(), sensing
