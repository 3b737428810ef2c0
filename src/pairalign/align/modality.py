"""One modality out of a finished run of stage one: its encoder and head, and nothing of the others.

Note:
    The others' encoders are not even built, so that neither their packages nor their weights have to be there; a frozen
    tower that is restored from its own source is compared with the one that the run was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pairalign.align.contrastive import LogitScale
from pairalign.align.model import build_head
from pairalign.align.store import check_restored, check_shapes, open_weights, restored_of
from pairalign.core.config import AlignConfig, ModalityConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import CheckpointError, ConfigError, did_you_mean
from pairalign.core.registry import create_encoder, load_plugin
from pairalign.data.graph import edge_name
from pairalign.runs.folder import RunFolder
from pairalign.runtime import DeviceLike, find_device


@dataclass(frozen=True)
class AlignedModality:
    """A run's encoder and head of one modality in evaluation mode, the run's configuration, and the modality's."""

    config: AlignConfig
    told: ModalityConfig
    encoder: Encoder
    head: nn.Module


def read_run(folder: str | Path) -> AlignConfig:
    """The configuration of a finished run; raise `CheckpointError` if it is unfinished."""
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"run {str(folder)!r} has no config.yaml: give the folder that `pairalign align` wrote.")
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(f"run {str(folder)!r} is not finished: run the same `pairalign align` command to go on.")
    config: AlignConfig = RunFolder(folder, "align", AlignConfig).read_config()
    return config


def load_modality(
    folder: str | Path, modality: str, device: DeviceLike = "cpu", *, plugins: Sequence[str | Path] = ()
) -> AlignedModality:
    """Load one modality of a finished run; raise `CheckpointError` if it is unfinished or damaged, `ConfigError` if it
    does not align the modality, `IdentityError` if a plugin was edited after training.

    device: where both go, see `find_device`. plugins: files to take instead of those that the run keeps.
    """
    folder = Path(folder)
    config = read_run(folder)
    if modality not in config.modalities:
        raise ConfigError(f"modality {modality!r} is not aligned.{did_you_mean(modality, config.modalities)}")
    for plugin in RunFolder(folder, "align", AlignConfig).to_load(config.plugins, plugins):
        load_plugin(plugin)
    told = config.modalities[modality]
    encoder = create_encoder(told.encoder, **told.options)
    encoder.tune(told.tune)
    with torch.device("meta"):
        check_shapes(folder, build_head(encoder, config.latent, told.head, modality), f"heads.{modality}.")
    head = build_head(encoder, config.latent, told.head, modality)
    _load(folder / "model.safetensors", modality, encoder, head)
    place = find_device(device)
    return AlignedModality(config, told, encoder.to(place).eval(), head.to(place).eval())


def _load(path: Path, modality: str, encoder: Encoder, head: nn.Module) -> None:
    parts = {f"encoders.{modality}.": encoder, f"heads.{modality}.": head}
    with open_weights(path) as file:
        restored = restored_of(file)
        stored = {p: {k.removeprefix(p): file.get_tensor(k) for k in file.keys() if k.startswith(p)} for p in parts}  # noqa: SIM118
    if modality in restored:
        del parts[f"encoders.{modality}."]
        check_restored(encoder, modality, restored[modality], path.parent)
    for prefix, module in parts.items():
        try:
            module.load_state_dict(stored[prefix])
        except RuntimeError as error:
            raise CheckpointError(f"weights {str(path)!r} do not fit the encoders: {error}") from error


def read_scales(folder: str | Path) -> dict[str, float]:
    """The logit scale of every edge of a finished run."""
    config = read_run(folder)
    found, loss = {}, config.loss
    with open_weights(Path(folder) / "model.safetensors") as file:
        stored = {
            edge_name(e.between): file.get_tensor(f"scales.{edge_name(e.between)}.log_scale") for e in config.edges
        }
    for name, value in stored.items():
        scale = LogitScale(loss.scale, loss.scale_min, loss.scale_max)
        scale.log_scale.data = value
        found[name] = float(scale().detach())
    return found
