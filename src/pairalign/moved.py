"""Modules under the names that they had in earlier versions: importing one gives the module of today, and says so once.

Note:
    It is the same module object, so what a program patches there is patched everywhere. A name inside a module is
    kept beside the one of today, see `pairalign.core.earlier`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_CORE = ("card", "config", "contract", "encoder", "errors", "lazy", "parameters", "registry", "types")
_RECOMPOSE = {
    "answer": "sensors.answer",
    "architecture": "finetune.architecture",
    "assemble": "finetune.assemble",
    "baselines": "finetune.methods",
    "bridge": "sensors.bridges.bridge",
    "config": "dormant.config",
    "delta": "dormant.checkpoint",
    "describe": "finetune.describe",
    "direction": "dormant.directions",
    "dormant": "dormant.layer",
    "examples": "finetune.tasks",
    "feed": "finetune.sampling",
    "linears": "dormant.linears",
    "mask": "dormant.selection.mask",
    "measure": "finetune.measure",
    "meta_page": "finetune.recipe_page",
    "meta_plan": "finetune.recipe_plan",
    "mllm": "sensors.model",
    "model": "dormant.model",
    "origin": "dormant.provenance",
    "peft": "dormant.peft",
    "pieces": "dormant.selection.units",
    "places": "dormant.selection.encoding",
    "plan": "dormant.plan",
    "projector": "sensors.bridges.recomposition",
    "prompt": "sensors.processor",
    "receipt": "dormant.receipt",
    "replacement": "dormant.updates",
    "run": "finetune.run",
    "select": "dormant.selection.select",
    "sense": "sensors.sensor",
    "settings": "finetune.config",
    "significance": "dormant.significance",
    "splice": "sensors.splice",
    "task": "finetune.module",
    "watch": "finetune.callbacks",
}
_WORDS = {"align.feed": "align.dataset", "data.convert.layout": "data.convert.dataset_format"}
MOVED = {f"pairalign.{name}": f"pairalign.core.{name}" for name in _CORE}
MOVED |= {f"pairalign.recompose.{name}": f"pairalign.{now}" for name, now in _RECOMPOSE.items()}
MOVED |= {f"pairalign.{name}": f"pairalign.{now}" for name, now in _WORDS.items()}
LEFT = {
    "pairalign.demo.train_base": "bench/demo_base.py",
    "pairalign.evaluate.identifiability": "bench/identifying",
}
"""What is no part of the package any more, and where it lies in the repository."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module of an earlier version by what it is called now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for every name that moved, or that lies inside one; `ModuleNotFoundError` for what left."""
        for old, now in LEFT.items():
            if fullname == old or fullname.startswith(f"{old}."):
                raise ModuleNotFoundError(f"{old} has left the package: it is {now} of the repository.", name=fullname)
        return ModuleSpec(fullname, self) if _today(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put today's module in the place of the one that was asked for."""
        old, new = module.__name__, _today(module.__name__)
        assert new is not None
        if old.removeprefix("pairalign.") not in _CORE:
            warnings.warn(f"{old} is called {new} now: import that.", FutureWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def _today(name: str) -> str | None:
    if not name.startswith("pairalign."):
        return None
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def install() -> None:
    """Let the import system know the old names; once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())  # else a package that moved would have its modules loaded twice
