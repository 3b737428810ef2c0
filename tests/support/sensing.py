"""Tiny sensors, signals and batches for a tiny model of any family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tiny_mllms import IMAGE, VOCAB, Family
from torch import Tensor, nn

import pairalign as pa
from pairalign import create_encoder
from pairalign.align.latents import LatentHead
from pairalign.demo.base import build_base, build_processor
from pairalign.dormant.model import DormantModel, get_dormant_model
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.sensor import Sensor, build_bridge

TOUCH, CLOUD = VOCAB + 3, VOCAB + 4  # ids that the embedding table does not have
STRUCTURES = ["rows", "columns", "neurons", "weights", "1:4", "matrices", "directions"]
SILENT = [0, 1, 2, *range(IMAGE, VOCAB)]  # a random model may say anything, even an image token


def make_sensor(model: nn.Module, name: str = "touch", kind: str = "mlp", tokens: int = 2) -> Sensor:
    torch.manual_seed(7)
    options = {
        "touch": {"size": 16, "channels": 4, "width": 8},
        "cloud": {"points": 16, "width": 8, "channels": (4, 4)},
    }
    encoder = create_encoder({"touch": "touch_cnn", "cloud": "dgcnn"}[name], **options[name])
    head = LatentHead(encoder.width, 6, 4, 0)
    return Sensor(encoder, head, build_bridge(encoder, head, model, kind, tokens)).eval()


def sensing(family: Family, *names: str) -> SensorModel:
    base = family.model()
    model = SensorModel(base)
    for name in names or ("touch",):
        model.add(name, make_sensor(base, name), {"touch": TOUCH, "cloud": CLOUD}[name])
    return model.eval()


def speaking() -> tuple[SensorModel, SensorProcessor]:
    """A tiny LLaVA with a sensor of touch, and a real processor."""
    torch.manual_seed(0)
    base, processor = build_base(width=32, layers=2, vision_layers=1).eval(), build_processor()
    model = SensorModel(base)
    sensing = SensorProcessor(processor, {"touch": make_sensor(base)})
    model.add("touch", sensing.sensors["touch"], sensing.placeholders["touch"])
    return model, sensing


def settings(structure: str = "rows", acts: Any = "sensor", **more: Any) -> pa.DormantConfig:
    score = "random" if structure == "directions" else "magnitude"
    targets = ("gate_proj", "up_proj", "down_proj") if structure == "neurons" else None
    return pa.DormantConfig(score=score, structure=structure, density=0.3, acts=acts, target_modules=targets, **more)


def taught(model: SensorModel, sensor: str = "touch", structure: str = "rows", acts: Any = "sensor") -> SensorModel:
    """The same with a sensor's weights, all of them far from the base's."""
    model.llm = get_dormant_model(model.llm, settings(structure, acts), sensor=sensor)
    assert isinstance(model.llm, DormantModel)
    torch.manual_seed(len(sensor))
    for update in model.llm.updates(sensor).values():
        update.values.data.normal_(std=0.3)
    return model.eval()


def gels(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def clouds(count: int) -> Tensor:
    return torch.randn(count, 16, 3, generator=torch.Generator().manual_seed(5)) * 0.05


def batch(rows: Sequence[Sequence[int]], side: str = "right") -> tuple[Tensor, Tensor]:
    length = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), length, dtype=torch.int64), torch.zeros(len(rows), length, dtype=torch.int64)
    for n, row in enumerate(rows):
        place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[n, place], mask[n, place] = torch.tensor(row), 1
    return ids, mask


def logits(model: Any, ids: Tensor, mask: Tensor, **inputs: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, **inputs).logits
