"""The finished base, a run of touches and one of sounds through every command: what each says, how long it takes, and
whether it ends well.

Note:
    Commands are real processes, so that each pays for reading the base. What PEFT loads, and a pack's exact removal,
    are looked at in this process, weight by weight and logit by logit. What ended well is not done again:
    WORK/doors.json. Quantised runs are of two steps.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from real.contacts import WHICH
from real.packs import packed
from real.senses import SENSES, register_encoders
from real.settings import Run, settings

CLOSED = 900  # seconds


def touch_of(data: Path) -> Path:
    """The file of one contact."""
    return min((data / "touch" / "touch").glob("*_diff.*"))


def sound_of(data: Path) -> Path:
    """The file of one impact."""
    return min((data / "third" / "audio").glob("*.wav"))


def open_doors(
    pair: Mapping[str, Run], work: Path, data: Path, forms: Sequence[str] = ("int8", "nf4")
) -> dict[str, Any]:
    """What every command on two finished runs did, by its name. forms: that the base is quantised in."""
    from pairalign.files import write_json

    path, doors = work / "doors.json", work / "doors"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    doors.mkdir(exist_ok=True)
    packs = [packed(run, work) for run in pair.values()]
    tried: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (name, lambda words=words, made=made: _call(words, made))  # type: ignore[misc]
        for name, words, made in _commands(pair["touch"], packs, work, data, forms)
    ]
    tried.append(("PEFT loads it", lambda: loaded_by_peft(work / "base", doors / "lora", doors / "merged" / "merged")))
    tried.append(("uninstall", lambda: uninstalled(work / "base", packs, [touch_of(data), sound_of(data)])))
    for name, door in tried:
        if found.get(name, {}).get("code") != 0:
            found[name] = door()
            print(f"{name}: {found[name]['code']}, {found[name]['seconds']:.0f} s", flush=True)
            write_json(path, found, indent=1)
    return found


def _commands(
    run: Run, packs: Sequence[Path], work: Path, data: Path, forms: Sequence[str]
) -> Iterator[tuple[str, list[str], list[Path]]]:
    """Name, words, and what is removed before it is tried again."""
    taught, base, lessons, doors = work / "taught" / run.name, work / "base", work / "lessons", work / "doors"
    config, short = doors / "doors.yaml", doors / "short.yaml"
    _write_config(config, settings(run, work))
    _write_config(short, shortened(run, work))
    yield "plan", ["plan", str(config)], []
    shown = ["--calibration", str(lessons / "pictures"), "--prompt", "{image} {question}", "--count", "16"]
    yield "score", ["score", str(base), *shown, "--out", str(doors / "scores.safetensors"), "--quiet"], []
    yield "recompose, finished", ["recompose", str(config), "--quiet"], []
    yield "recompose --dry-run", ["recompose", str(config), "--dry-run", f"out={doors / 'dry'}"], []
    told = ["--prompt", f"{{touch}} {WHICH}", "--reference", "{answer}", "--limit", "8", "--tokens", "8", "--quiet"]
    pairs = ["--pairs", str(lessons / run.where / "object"), "--out", str(doors / "described")]
    yield "describe", ["describe", str(taught), *pairs, *told], []
    lora, exported = doors / "lora", ["export", str(taught)]
    yield "export", [*exported, str(doors / "pack")], [doors / "pack"]
    made = [doors / "pack-lora", lora]
    yield "export --lora", [*exported, str(doors / "pack-lora"), "--lora", str(lora)], made
    yield "export --merge", [*exported, str(doors / "merged"), "--merge"], [doors / "merged"]
    touch = ["--touch", str(touch_of(data))]
    ask = ["ask", str(packs[0]), WHICH, "--tokens", "8"]
    yield "ask", [*ask, "--base", str(base), *touch], []
    yield "ask, merged", ["ask", str(doors / "merged"), WHICH, "--tokens", "8",
                          "--base", str(doors / "merged" / "merged"), *touch], []  # fmt: skip
    both = [*touch, "--pack", str(packs[1]), "--sound", str(sound_of(data))]
    yield "ask, two packs", [*ask, "--base", str(base), *both, *_plugins()], []
    for bits in forms:
        out = doors / bits
        yield f"plan, {bits}", ["plan", str(short), f"load_in={bits}", f"out={out}"], []
        yield f"recompose, {bits}", ["recompose", str(short), f"load_in={bits}", f"out={out}", "--quiet"], []
        yield f"export, {bits}", ["export", str(out), str(doors / f"pack-{bits}")], [doors / f"pack-{bits}"]
        yield f"ask, {bits}", ["ask", str(doors / f"pack-{bits}"), WHICH, "--tokens", "8", "--base", str(base),
                               "--load-in", bits, *touch], []  # fmt: skip


def shortened(run: Run, work: Path) -> dict[str, Any]:
    """Two steps, and four questions of each task: what a run of quantised weights needs to show that it runs."""
    told = settings(run._replace(limit=4, signals=False, short=4), work)
    return {**told, "train": {**told["train"], "steps": 2, "warmup": 1, "precision": "32-true"}}


def _plugins() -> list[str]:
    return [word for plugin in SENSES["sound"].plugins for word in ("--plugin", plugin)]


def _write_config(path: Path, values: Mapping[str, Any]) -> None:
    import yaml

    from pairalign.files import write_text

    write_text(path, yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False))


def _call(words: list[str], made: Sequence[Path]) -> dict[str, Any]:
    for path in made:
        shutil.rmtree(path, ignore_errors=True)
    start = time.monotonic()
    command = [sys.executable, "-m", "pairalign", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLOSED)
    said = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return {"code": done.returncode, "seconds": time.monotonic() - start, "said": said[-12:], "words": words}


def loaded_by_peft(base: Path, lora: Path, merged: Path) -> dict[str, Any]:
    """How far apart the logits of a question are that PEFT's model and the merged one give, of the largest."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    start, read = time.monotonic(), AutoModelForImageTextToText.from_pretrained
    ids = AutoProcessor.from_pretrained(base).tokenizer(WHICH, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        plain = read(base, dtype=torch.float32).eval()
        untouched = plain(input_ids=ids).logits
        said = PeftModel.from_pretrained(plain, str(lora)).eval()(input_ids=ids).logits
        wanted = read(merged, dtype=torch.float32).eval()(input_ids=ids).logits
    apart, moved = (float((said - one).abs().max() / wanted.abs().max()) for one in (wanted, untouched))
    took = time.monotonic() - start
    return {"code": int(not apart < 1e-4 or not moved > apart), "seconds": took, "apart": apart, "moved": moved}


def uninstalled(base: Path, packs: Sequence[Path], files: Sequence[Path]) -> dict[str, Any]:
    """How many weights, and logits of a prompt, differ from the base's once packs were there, asked, and are gone."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from pairalign import SensorModel, SensorProcessor, answer, install_pack, read_signal, uninstall_pack

    register_encoders()
    start = time.monotonic()
    llm = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    before = {name: value.clone() for name, value in llm.state_dict().items()}
    processor = SensorProcessor(AutoProcessor.from_pretrained(base), {})
    text = processor.apply_chat_template([{"role": "user", "content": WHICH}], add_generation_prompt=True)
    with torch.no_grad():
        wanted = llm(**processor(text)).logits
        model = SensorModel(llm)
        senses = [name for pack in packs for name in install_pack(model, processor, pack)]
        for sense, file in zip(senses, files, strict=True):
            answer(model, processor, WHICH, signals={sense: [read_signal(file)]}, tokens=4)
        for sense in senses:
            uninstall_pack(model, processor, sense)
        found = model(**processor(text)).logits
    after = model.llm.state_dict()
    differ = [name for name, value in before.items() if name not in after or not torch.equal(value, after[name])]
    logits = int((found != wanted).sum())
    told = {"tensors": len(before), "differ": differ[:8], "logits": found.numel(), "logits that differ": logits}
    return {
        "code": int(bool(differ or logits or set(after) - set(before))),
        "seconds": time.monotonic() - start,
        **told,
    }


def doors_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What every command took, and whether it ended well."""
    lines = ["| command | code | s | last line |", "|---|---|---|---|"]
    for name, one in found.items():
        said = one.get("said") or [", ".join(f"{k} {v}" for k, v in one.items() if k not in ("code", "seconds"))]
        last = str(said[-1] if said else "").replace("|", "/")[:100]
        lines.append(f"| {name} | {one['code']} | {one['seconds']:.0f} | {last} |")
    return "\n".join(lines)
