"""pairalign: give a pretrained multimodal LLM a new sense, from pairs only.

Every public name is loaded on first use, so that `import pairalign` costs milliseconds and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pairalign import moved

__version__ = "0.1.0"

_HOME = {
    "AlignConfig": "pairalign.core.config",
    "DormantConfig": "pairalign.dormant.config",
    "DormantModel": "pairalign.dormant.model",
    "Encoder": "pairalign.core.encoder",
    "Features": "pairalign.core.types",
    "PairAligner": "pairalign.align.model",
    "PairGraph": "pairalign.data.graph",
    "PairalignError": "pairalign.core.errors",
    "Signal": "pairalign.core.types",
    "RecomposeConfig": "pairalign.finetune.config",
    "SequenceConfig": "pairalign.finetune.sequence.config",
    "PublishedRun": "pairalign.hub.published",
    "SensorModel": "pairalign.sensors.model",
    "SensorPack": "pairalign.hub.published",
    "SensorProcessor": "pairalign.sensors.processor",
    "ablate": "pairalign.evaluate.ablation",
    "align_pairs": "pairalign.align.run",
    "convert_data": "pairalign.data.convert.run",
    "create_encoder": "pairalign.core.registry",
    "answer": "pairalign.sensors.answer",
    "evaluate_protocol": "pairalign.evaluate.protocols.run",
    "evaluate_run": "pairalign.evaluate.run",
    "get_dormant_model": "pairalign.dormant.model",
    "export_pack": "pairalign.export.sensor_pack",
    "install_pack": "pairalign.export.sensor_pack",
    "load_aligned": "pairalign.align.run",
    "load_config": "pairalign.core.config",
    "load_plugin": "pairalign.core.registry",
    "load_recomposed": "pairalign.finetune.run",
    "load_sensor_model": "pairalign.export.sensor_pack",
    "measure_translation": "pairalign.translation.measure",
    "pack_pairs": "pairalign.data.pack",
    "read_signal": "pairalign.data.decode",
    "recompose_mllm": "pairalign.finetune.run",
    "register_bridge": "pairalign.sensors.bridges.registry",
    "register_encoder": "pairalign.core.registry",
    "register_loss": "pairalign.align.losses",
    "teach_sequence": "pairalign.finetune.sequence.run",
    "translate": "pairalign.translation.run",
    "uninstall_pack": "pairalign.export.sensor_pack",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from pairalign.align.losses import register_loss as register_loss
    from pairalign.align.model import PairAligner as PairAligner
    from pairalign.align.run import align_pairs as align_pairs
    from pairalign.align.run import load_aligned as load_aligned
    from pairalign.core.config import AlignConfig as AlignConfig
    from pairalign.core.config import load_config as load_config
    from pairalign.core.encoder import Encoder as Encoder
    from pairalign.core.errors import PairalignError as PairalignError
    from pairalign.core.registry import create_encoder as create_encoder
    from pairalign.core.registry import load_plugin as load_plugin
    from pairalign.core.registry import register_encoder as register_encoder
    from pairalign.core.types import Features as Features
    from pairalign.core.types import Signal as Signal
    from pairalign.data.convert.run import convert_data as convert_data
    from pairalign.data.decode import read_signal as read_signal
    from pairalign.data.graph import PairGraph as PairGraph
    from pairalign.data.pack import pack_pairs as pack_pairs
    from pairalign.dormant.config import DormantConfig as DormantConfig
    from pairalign.dormant.model import DormantModel as DormantModel
    from pairalign.dormant.model import get_dormant_model as get_dormant_model
    from pairalign.evaluate.ablation import ablate as ablate
    from pairalign.evaluate.protocols.run import evaluate_protocol as evaluate_protocol
    from pairalign.evaluate.run import evaluate_run as evaluate_run
    from pairalign.export.sensor_pack import export_pack as export_pack
    from pairalign.export.sensor_pack import install_pack as install_pack
    from pairalign.export.sensor_pack import load_sensor_model as load_sensor_model
    from pairalign.export.sensor_pack import uninstall_pack as uninstall_pack
    from pairalign.finetune.config import RecomposeConfig as RecomposeConfig
    from pairalign.finetune.run import load_recomposed as load_recomposed
    from pairalign.finetune.run import recompose_mllm as recompose_mllm
    from pairalign.finetune.sequence.config import SequenceConfig as SequenceConfig
    from pairalign.finetune.sequence.run import teach_sequence as teach_sequence
    from pairalign.hub.published import PublishedRun as PublishedRun
    from pairalign.hub.published import SensorPack as SensorPack
    from pairalign.sensors.answer import answer as answer
    from pairalign.sensors.bridges.registry import register_bridge as register_bridge
    from pairalign.sensors.model import SensorModel as SensorModel
    from pairalign.sensors.processor import SensorProcessor as SensorProcessor
    from pairalign.translation.measure import measure_translation as measure_translation
    from pairalign.translation.run import translate as translate


moved.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pairalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
