"""pairalign: give a pretrained multimodal LLM a new sense, from pairs only.

Every public name is loaded on first use, so that `import pairalign` costs milliseconds and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AlignConfig": "pairalign.config",
    "DormantConfig": "pairalign.recompose.config",
    "DormantModel": "pairalign.recompose.model",
    "Encoder": "pairalign.encoder",
    "Features": "pairalign.types",
    "PairAligner": "pairalign.align.model",
    "PairGraph": "pairalign.data.graph",
    "PairalignError": "pairalign.errors",
    "Signal": "pairalign.types",
    "RecomposeConfig": "pairalign.recompose.settings",
    "SensorModel": "pairalign.recompose.mllm",
    "SensorProcessor": "pairalign.recompose.prompt",
    "align_pairs": "pairalign.align.run",
    "convert_data": "pairalign.data.convert.run",
    "create_encoder": "pairalign.registry",
    "answer": "pairalign.recompose.answer",
    "evaluate_protocol": "pairalign.evaluate.protocols.run",
    "evaluate_run": "pairalign.evaluate.run",
    "get_dormant_model": "pairalign.recompose.model",
    "export_pack": "pairalign.export.sensor_pack",
    "install_pack": "pairalign.export.sensor_pack",
    "load_aligned": "pairalign.align.run",
    "load_config": "pairalign.config",
    "load_plugin": "pairalign.registry",
    "load_recomposed": "pairalign.recompose.run",
    "load_sensor_model": "pairalign.export.sensor_pack",
    "pack_pairs": "pairalign.data.pack",
    "recompose_mllm": "pairalign.recompose.run",
    "register_encoder": "pairalign.registry",
    "uninstall_pack": "pairalign.export.sensor_pack",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from pairalign.align.model import PairAligner as PairAligner
    from pairalign.align.run import align_pairs as align_pairs
    from pairalign.align.run import load_aligned as load_aligned
    from pairalign.config import AlignConfig as AlignConfig
    from pairalign.config import load_config as load_config
    from pairalign.data.convert.run import convert_data as convert_data
    from pairalign.data.graph import PairGraph as PairGraph
    from pairalign.data.pack import pack_pairs as pack_pairs
    from pairalign.encoder import Encoder as Encoder
    from pairalign.errors import PairalignError as PairalignError
    from pairalign.evaluate.protocols.run import evaluate_protocol as evaluate_protocol
    from pairalign.evaluate.run import evaluate_run as evaluate_run
    from pairalign.export.sensor_pack import export_pack as export_pack
    from pairalign.export.sensor_pack import install_pack as install_pack
    from pairalign.export.sensor_pack import load_sensor_model as load_sensor_model
    from pairalign.export.sensor_pack import uninstall_pack as uninstall_pack
    from pairalign.recompose.answer import answer as answer
    from pairalign.recompose.config import DormantConfig as DormantConfig
    from pairalign.recompose.mllm import SensorModel as SensorModel
    from pairalign.recompose.model import DormantModel as DormantModel
    from pairalign.recompose.model import get_dormant_model as get_dormant_model
    from pairalign.recompose.prompt import SensorProcessor as SensorProcessor
    from pairalign.recompose.run import load_recomposed as load_recomposed
    from pairalign.recompose.run import recompose_mllm as recompose_mllm
    from pairalign.recompose.settings import RecomposeConfig as RecomposeConfig
    from pairalign.registry import create_encoder as create_encoder
    from pairalign.registry import load_plugin as load_plugin
    from pairalign.registry import register_encoder as register_encoder
    from pairalign.types import Features as Features
    from pairalign.types import Signal as Signal


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pairalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
