"""The schemas of all three configurations; stages, arms and defaults of a sequence are parts of a `RecomposeConfig`."""

from __future__ import annotations

from typing import Any

from pairalign.core.config import AlignConfig
from pairalign.core.schema import schema_of
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.sequence.config import SequenceConfig

KINDS: dict[str, type] = {"align": AlignConfig, "recompose": RecomposeConfig, "sequence": SequenceConfig}


def config_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of the configuration that a verb reads.

    Args:
        kind: "align", "recompose" or "sequence".
    """
    found = schema_of(KINDS[kind])
    if kind != "sequence":
        return found
    part = schema_of(RecomposeConfig, partial=True)
    found["definitions"] |= part.pop("definitions")
    part = {name: part[name] for name in ("type", "description", "properties", "additionalProperties")}
    called = {"name": {"type": "string", "description": "what results call the stage"}}
    stage = {**part, "properties": {**called, **part["properties"]}, "required": ["name"]}
    found["definitions"] |= {"Part": part, "Stage": stage}
    settings, ref = found["properties"], {"$ref": "#/definitions/Part"}
    settings["stages"]["items"] = {"$ref": "#/definitions/Stage"}
    settings["arms"]["additionalProperties"] = ref
    settings["defaults"] = {"allOf": [ref], "description": settings["defaults"]["description"]}
    return found
