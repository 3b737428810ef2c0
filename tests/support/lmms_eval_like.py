"""What of lmms-eval's interface a model plugin meets: registry, base class, arguments. Written from its documentation.

`installed` puts it where `import lmms_eval` finds it and registers, as lmms-eval does, what the entry points of
pyproject.toml name; beside them one family, `tiny_hf`, with a chat class alone.
"""

from __future__ import annotations

import abc
import importlib
import sys
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
registry: dict[str, Manifest] = {}


@dataclass(frozen=True)
class Manifest:
    """Class paths by kind of model."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None


def parse(text: str) -> dict[str, Any]:
    return dict(part.split("=", 1) for part in text.split(",") if part)


class Lmms(abc.ABC):
    """The base class of every model there."""

    is_simple = True

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Any:
        more = {key: value for key, value in (additional_config or {}).items() if value is not None}
        return cls(**parse(arg_string), **more)

    @abc.abstractmethod
    def generate_until(self, requests: list[Any]) -> list[str]: ...


class TinyHf(Lmms):
    """A family: it loads the base and its processor, and asks `self.model`."""

    is_simple = False

    def __init__(self, pretrained: str, dtype: str = "auto", batch_size: int = 1) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        kind = dtype if dtype == "auto" else getattr(torch, dtype)
        self._model = AutoModelForImageTextToText.from_pretrained(pretrained, dtype=kind).eval()
        self.processor = AutoProcessor.from_pretrained(pretrained)

    @property
    def model(self) -> Any:
        return self._model

    def inputs(self, question: str) -> dict[str, Any]:
        asked = [{"role": "user", "content": [{"type": "text", "text": question}]}]
        text = self.processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        return dict(self.processor(text=[text], return_tensors="pt"))

    def say(self, question: str, tokens: int = 4) -> str:
        inputs = self.inputs(question)
        told = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": self.processor.tokenizer.pad_token_id}
        out = self.model.generate(**inputs, **told, eos_token_id=self.processor.tokenizer.eos_token_id)
        said = out[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.decode(said, skip_special_tokens=True)).strip()

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [self.say(request) for request in requests]


def model_class(name: str, force_simple: bool = False) -> Any:
    """As lmms-eval finds a class and checks it: chat before simple."""
    manifest = registry[name]
    chat = manifest.chat_class_path is not None and not (force_simple and manifest.simple_class_path)
    module, _, attribute = str(manifest.chat_class_path if chat else manifest.simple_class_path).rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert issubclass(found, Lmms)
    assert found.is_simple == (not chat)
    return found


def installed(patch: pytest.MonkeyPatch) -> None:
    """Until the test ends."""
    names = ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model", "lmms_eval.utils", "lmms_eval.models")
    made = {name: types.ModuleType(name) for name in (*names, "lmms_eval.models.registry_v2")}
    for name, module in made.items():
        patch.setitem(sys.modules, name, module)
    parts: dict[str, dict[str, Any]] = {
        "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.utils": {"simple_parse_args_string": parse},
        "lmms_eval.models": {"get_model": model_class},
        "lmms_eval.models.registry_v2": {"ModelManifest": Manifest},
    }
    for name, values in parts.items():
        vars(made[name]).update(values)
    points = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["lmms_eval.models"]
    patch.setitem(registry, "tiny_hf", Manifest("tiny_hf", chat_class_path=f"{__name__}.TinyHf"))
    for point in points.values():
        module_name, _, attribute = point.partition(":")
        manifest = getattr(importlib.import_module(module_name), attribute)()
        patch.setitem(registry, manifest.model_id, manifest)
