"""A base model and its sensors put together, as a configuration says.

Note:
    Stage one's encoders and heads are taken from their run folders, which have to stay where they are until the sensor
    pack is written.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import nn

from pairalign.align.modality import load_modality
from pairalign.align.model import PairAligner
from pairalign.align.run import load_aligned
from pairalign.core.errors import ConfigError, SignalError
from pairalign.data.index import load_index
from pairalign.data.kinds import main_value
from pairalign.data.picture import rgb_picture
from pairalign.data.place import find_place
from pairalign.data.shards import read_samples
from pairalign.dormant.quantised import is_quantised
from pairalign.finetune.config import RecomposeConfig, SensorConfig
from pairalign.finetune.methods.method import beside_base
from pairalign.hub.place import find_sensor_run
from pairalign.sensors.bridges.recomposition import Recomposition, fit_recomposition
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import CPU, Loading, SensorProcessor, load_base
from pairalign.sensors.sensor import Sensor, SensorRecipe, build_bridge, count_tokens

ENCODED = 64


def assemble(
    config: RecomposeConfig, device: torch.device = CPU, *, mapped: bool = False
) -> tuple[SensorModel, SensorProcessor]:
    """The base with its sensors on a device, bridges untrained, in evaluation mode; nothing of the base has changed.

    mapped: leave the base's weights in their files, on the CPU and in the dtype that is stored.
    """
    from pairalign.core.registry import load_plugin

    for plugin in config.plugins:
        load_plugin(plugin)
    place = CPU if mapped else device
    llm, processor = load_base(config.base, "auto" if mapped else config.dtype, place, loading_of(config))
    check_beside(config.method, llm, mapped)
    model = SensorModel(llm)
    sensing = SensorProcessor(processor, {})
    for name, sensor in config.sensors.items():
        made = _sensor(name, sensor, llm, processor, config.root, place, config.plugins)
        model.add(name, made, sensing.add(name, made))
    model.sensors.to(device)
    return model.eval(), sensing


def loading_of(config: RecomposeConfig) -> Loading:
    """How the configuration loads its base."""
    return Loading(
        config.device_map, config.attn_implementation, config.revision, config.trust_remote_code, config.load_in
    )


def check_beside(method: str, llm: nn.Module, mapped: bool = False) -> None:
    """Raise `ConfigError` for a quantised base where a method would write its weights, or it would be shared out."""
    if not is_quantised(llm):
        return
    if method not in (beside := beside_base()):
        raise ConfigError(
            f"method={method!r} does not leave the base's weights alone, which are quantised: give "
            f"{' or '.join(beside)}, or an unquantised base."
        )
    if mapped:
        raise ConfigError("train.strategy='fsdp2' shares out plain weights, the base's are quantised: leave it out.")


def _sensor(
    name: str,
    config: SensorConfig,
    llm: nn.Module,
    processor: Any,
    root: str,
    device: torch.device,
    plugins: Sequence[str],
) -> Sensor:
    folder = find_sensor_run(config.run, root)
    run = load_modality(folder, config.modality or name, device, plugins=plugins)
    told = run.told
    try:
        tokens = count_tokens(run.encoder) if config.tokens == "all" else config.tokens
    except ConfigError as error:
        raise ConfigError(f"sensors.{name}.{error}") from error
    recipe = SensorRecipe(told.encoder, told.options, run.config.latent, told.head, config.bridge, tokens)
    if config.bridge != "recomposition":
        bridge: nn.Module = build_bridge(run.encoder, run.head, llm, config.bridge, tokens)
    else:
        aligner = load_aligned(folder, device, plugins=plugins).aligner  # its pictures' encoder and gates are needed
        bridge = _recomposition(name, config, aligner, llm, processor, root, device)
        recipe = replace(recipe, sizes=bridge.sizes())
    if not config.trained:
        bridge.requires_grad_(False)
    try:
        return Sensor(run.encoder, run.head, bridge, recipe, config.tune).eval()
    except (ConfigError, SignalError) as error:
        raise ConfigError(f"sensors.{name}.{error}") from error


@torch.no_grad()
def _recomposition(
    name: str,
    config: SensorConfig,
    aligner: PairAligner,
    llm: nn.Module,
    processor: Any,
    root: str,
    device: torch.device,
) -> Recomposition:
    """Fitted to the pictures that the configuration names."""
    if config.images is None:
        raise ConfigError(
            f"sensors.{name}.images: is missing: name shards with pictures, which the bridge is fitted to."
        )
    folder = find_place(config.images, root)
    index, encoder = load_index(folder), aligner.encoder(config.anchor)
    index.require([config.anchor], folder)
    samples = itertools.islice(read_samples(folder, next(iter(index.splits)), [config.anchor]), config.image_count)
    pictures = [rgb_picture(main_value(sample.values[config.anchor])) for sample in samples]
    read = [encoder.preprocess(picture) for picture in pictures]
    parts = [encoder.collate(read[n : n + ENCODED]).to(device) for n in range(0, len(read), ENCODED)]
    shared = torch.cat([aligner.encode(config.anchor, part).shared for part in parts])
    inputs = [dict(processor.image_processor(images=[one], return_tensors="pt")) for one in _of_one_size(pictures)]
    return fit_recomposition(llm, inputs, shared, aligner.path_gate(config.modality or name, config.anchor))


def _of_one_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures in the size that most of them have: a base that reads each at its own makes more tokens of a larger one,
    and the mean picture, which the bridge starts from, has one number of them."""
    size = Counter(picture.size for picture in pictures).most_common(1)[0][0] if pictures else (0, 0)
    return [picture if picture.size == size else picture.resize(size) for picture in pictures]
