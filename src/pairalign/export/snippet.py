"""The lines of code in a pack's card: they run as they are printed, beside the pack and a recording.

Note:
    A pack holds no code, so that an encoder that somebody registered in a file needs that file; and a base that was a
    folder is named by it, to be put beside the pack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pairalign.export.manifest import MERGED, Manifest

FIELD = re.compile(r"\{(\w+)\}")


def snippet(manifest: Manifest, results: Mapping[str, Any], pack: str) -> list[str]:
    """Load the model and ask what it was taught, of files called as their sensors are."""
    prompt, files = _question(manifest, results)
    lines = ["import pairalign as pa", ""]
    lines += [f"pa.load_plugin({_quote(plugin)})  # registers the encoder" for plugin in manifest.plugins]
    base = f"{pack}/{MERGED}" if manifest.whole else manifest.base["name"]
    note = "  # your folder of it" if manifest.base.get("source") == "folder" and not manifest.whole else ""
    lines.append(f"model, processor = pa.load_sensor_model({_quote(base)}, [{_quote(pack)}]){note}")
    given: dict[str, list[str]] = {}
    for kind, kinds in files.items():
        names = [f"{kind}.{ext}" if n == 0 else f"{kind}{n + 1}.{ext}" for n, ext in enumerate(kinds)]
        given[kind] = [f"pa.read_signal({_quote(name)})" for name in names]
    images = given.pop("image", [])
    options = [f"images=[{', '.join(images)}]"] if images else []
    if given:
        told = ", ".join(f"{_quote(sensor)}: [{', '.join(calls)}]" for sensor, calls in given.items())
        options.append(f"signals={{{told}}}")
    lines.append(f"print(pa.answer(model, processor, {', '.join([_quote(prompt), *options])}))")
    return lines


def _question(manifest: Manifest, results: Mapping[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """The first question of training that shows a sensor; runs of earlier versions kept the task's prompt alone."""
    for asked in results.get("asked", {}).values():
        if any(sensor in asked["files"] for sensor in manifest.sensors):
            return asked["prompt"], asked["files"]
    prompts = [str(task["prompt"]) for task in manifest.provenance.get("tasks", {}).values()]
    sensor = next(iter(manifest.sensors))
    prompt = next((p for p in prompts if f"{{{sensor}}}" in p), f"{{{sensor}}}")
    plain = FIELD.sub(lambda m: m[0] if m[1] == sensor else "…", prompt)
    return plain, {sensor: ["png"] * plain.count(f"{{{sensor}}}")}


def _quote(text: str) -> str:
    quoted = repr(text)
    return f'"{text}"' if quoted[0] == "'" and '"' not in text and quoted[1:-1] == text else quoted
