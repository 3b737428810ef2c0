"""The weights that a run of stage one keeps on disk, in safetensors, and those that it starts from.

Note:
    A frozen tower that can be restored from its own source (`Encoder.restorable`) is not written again, only its
    fingerprint, which is compared when the run is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from pairalign.align.fingerprint import weights_fingerprint
from pairalign.align.model import PairAligner
from pairalign.core.config import AlignConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import CheckpointError, ConfigError
from pairalign.core.record import parse_record
from pairalign.files import save_tensors


def save_weights(folder: Path, aligner: PairAligner) -> None:
    """Write model.safetensors atomically, with the fingerprints of towers that are restored from their source."""
    restored = _restored(aligner)
    prefixes = tuple(f"encoders.{name}." for name in restored)
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in aligner.state_dict().items()
        if not (prefixes and name.startswith(prefixes))
    }
    prints = {name: weights_fingerprint(aligner.encoder(name)) for name in restored}
    save_tensors(folder / "model.safetensors", tensors, {"restored": json.dumps(prints)})


@contextmanager
def open_weights(path: Path) -> Iterator[Any]:
    """A run's model.safetensors, to read from; raise `CheckpointError` for whatever fails of that."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # safetensors raises its own kind, which is no public class
        raise CheckpointError(f"weights {str(path)!r} are damaged: {error}") from error


def check_shapes(folder: Path, built: nn.Module, prefix: str = "") -> None:
    """Raise `CheckpointError` where a module that has no memory yet, on the meta device, is another than the one stored
    in model.safetensors. prefix: what names of its weights begin with there."""
    path = folder / "model.safetensors"
    with open_weights(path) as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name, tensor in built.state_dict(prefix=prefix).items():
        found = stored.get(name)
        if tensor.is_meta and found != tuple(tensor.shape):
            told = "not there" if found is None else f"of shape {found}"
            raise CheckpointError(
                f"weights {str(path)!r} do not fit the configuration beside them: {name} should be of shape "
                f"{tuple(tensor.shape)} and is {told}: copy the run again."
            )


def load_weights(folder: Path, aligner: PairAligner) -> None:
    """Load model.safetensors into a freshly built aligner; raise `CheckpointError` where anything does not fit."""
    path = folder / "model.safetensors"
    with open_weights(path) as file:
        tensors = load_file(path)
        prints = restored_of(file)
    for name, expected in prints.items():
        if name not in aligner.encoders:
            raise CheckpointError(f"weights {str(path)!r} are damaged: they name a tower {name!r}: copy the run again.")
        check_restored(aligner.encoder(name), name, expected, folder)
    try:
        missing, unexpected = aligner.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # of other shapes
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"weights {str(path)!r} do not fit the configuration beside them: {reason}") from error
    missing = [m for m in missing if m.split(".")[0] != "encoders" or m.split(".")[1] not in prints]
    if missing or unexpected:
        raise CheckpointError(f"weights {str(path)!r} do not fit the encoders: {(missing + unexpected)[:3]} …")


def restored_of(file: Any) -> dict[str, str]:
    """Fingerprint of each tower that opened weights leave to its own source, by modality."""
    found: dict[str, str] = parse_record((file.metadata() or {}).get("restored", "{}"), dict[str, str])
    return found


def check_restored(encoder: Encoder, name: str, expected: str, folder: Path) -> None:
    """Raise `CheckpointError` unless a tower that its own source restored has the weights that a run was trained with.

    name: its modality. expected: their fingerprint, from the run in `folder`.
    """
    if weights_fingerprint(encoder) != expected:
        raise CheckpointError(
            f"the frozen tower of {name!r} is not the one that run {str(folder)!r} was trained with: "
            "restore the weights at its hub name or folder."
        )


def start_encoders(config: AlignConfig, aligner: PairAligner) -> None:
    """Give encoders the weights of earlier runs, as `ModalityConfig.start` says; raise `ConfigError` where none fit."""
    for name, modality in config.modalities.items():
        if modality.start is None:
            continue
        path, prefix = Path(modality.start) / "model.safetensors", f"encoders.{name}."
        where = f"modalities.{name}.start={modality.start!r}"
        try:
            tensors = {key.removeprefix(prefix): value for key, value in load_file(path).items() if prefix in key}
        except Exception as error:  # no file, or one of safetensors' own errors
            raise ConfigError(f"{where}: is no finished run ({error}): give a folder of `pairalign align`.") from error
        if not tensors:
            raise ConfigError(f"{where}: that run trained no {name!r}: its encoder there must have the same name.")
        try:
            aligner.encoder(name).load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ConfigError(f"{where}: its encoder is another one ({reason}): use its options.") from error


def _restored(aligner: PairAligner) -> list[str]:
    return [name for name in aligner.encoders if aligner.encoder(name).frozen and aligner.encoder(name).restorable]
