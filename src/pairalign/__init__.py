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
    "align_pairs": "pairalign.align.run",
    "create_encoder": "pairalign.registry",
    "evaluate_run": "pairalign.evaluate.run",
    "get_dormant_model": "pairalign.recompose.model",
    "load_aligned": "pairalign.align.run",
    "load_config": "pairalign.config",
    "load_plugin": "pairalign.registry",
    "pack_pairs": "pairalign.data.pack",
    "register_encoder": "pairalign.registry",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from pairalign.align.model import PairAligner as PairAligner
    from pairalign.align.run import align_pairs as align_pairs
    from pairalign.align.run import load_aligned as load_aligned
    from pairalign.config import AlignConfig as AlignConfig
    from pairalign.config import load_config as load_config
    from pairalign.data.graph import PairGraph as PairGraph
    from pairalign.data.pack import pack_pairs as pack_pairs
    from pairalign.encoder import Encoder as Encoder
    from pairalign.errors import PairalignError as PairalignError
    from pairalign.evaluate.run import evaluate_run as evaluate_run
    from pairalign.recompose.config import DormantConfig as DormantConfig
    from pairalign.recompose.model import DormantModel as DormantModel
    from pairalign.recompose.model import get_dormant_model as get_dormant_model
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
