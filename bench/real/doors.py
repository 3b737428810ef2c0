"""The finished base and a run on it through every command: what each says, how long it takes, and whether it ends well.

Where it bites: commands are real processes, so that each pays for reading the base. A pack's exact removal is looked at
in this process, weight by weight. What is there already is not done again: WORK/doors.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from real.contacts import WHICH
from real.settings import Run, settings

CLOSED = 900  # seconds


def open_doors(run: Run, work: Path, data: Path) -> dict[str, Any]:
    """What every command on a finished run did, by its name."""
    from pairalign.files import write_json

    path = work / "doors.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, words in _commands(run, work, data):
        if found.get(name, {}).get("code") != 0:
            found[name] = _call(words)
            print(f"{name}: {found[name]['code']}, {found[name]['seconds']:.0f} s", flush=True)
            write_json(path, found, indent=1)
    if "uninstall" not in found:
        found["uninstall"] = uninstalled(work / "base", work / "pack")
        write_json(path, found, indent=1)
    return found


def _commands(run: Run, work: Path, data: Path) -> Iterator[tuple[str, list[str]]]:
    taught, base, lessons = work / "taught" / run.name, work / "base", work / "lessons"
    config = work / "doors.yaml"
    _write_config(config, settings(run, work))
    touch = min((data / "touch" / "touch").glob("*_diff.*"))
    yield "plan", ["plan", str(config)]
    yield "plan, in 4 bits", ["plan", str(config), "load_in=nf4"]
    shown = ["--calibration", str(lessons / "pictures"), "--count", "16"]
    yield "score", ["score", str(base), *shown, "--out", str(work / "scores.safetensors"), "--quiet"]
    yield "recompose --dry-run", ["recompose", str(config), "--dry-run", f"out={work / 'dry'}"]
    told = [
        "--prompt",
        "{touch} {question}",
        "--reference",
        "{answer}",
        "--limit",
        "8",
        "--out",
        str(work / "described"),
    ]
    yield "describe", ["describe", str(taught), "--pairs", str(lessons / run.where / "object"), *told, "--quiet"]
    yield "export", ["export", str(taught), str(work / "pack")]
    yield "export --lora", ["export", str(taught), str(work / "pack-lora"), "--lora", str(work / "lora")]
    yield "export --merge", ["export", str(taught), str(work / "pack-merged"), "--merge"]
    asked = [str(work / "pack"), WHICH, "--base", str(base), "--tokens", "8"]
    yield "ask", ["ask", *asked, "--touch", str(touch)]


def _write_config(path: Path, values: Mapping[str, Any]) -> None:
    import yaml

    from pairalign.files import write_text

    write_text(path, yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False))


def _call(words: list[str]) -> dict[str, Any]:
    start = time.monotonic()
    command = [sys.executable, "-m", "pairalign", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLOSED)
    said = (done.stdout + done.stderr).strip().splitlines()
    return {"code": done.returncode, "seconds": time.monotonic() - start, "said": said[-12:], "words": words}


def uninstalled(base: Path, pack: Path) -> dict[str, Any]:
    """How many weights differ from the base's once a pack was there and is gone."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from pairalign import SensorModel, SensorProcessor, install_pack, uninstall_pack

    llm = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    before = {name: value.clone() for name, value in llm.state_dict().items()}
    model, processor = SensorModel(llm), SensorProcessor(AutoProcessor.from_pretrained(base))
    install_pack(model, processor, pack)
    uninstall_pack(model, processor, "touch")
    after = model.llm.state_dict()
    differ = [name for name, value in before.items() if name not in after or not torch.equal(value, after[name])]
    return {"code": int(bool(differ)), "tensors": len(before), "differ": differ[:8]}
