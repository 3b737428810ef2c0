"""Real recordings through the front door, command by command: pack, audit, plan, align, evaluate, recompose.

    python bench/real_door.py DATA --work WORK --out door.json [--sensors touch sound depth]

DATA holds `touch/manifest.jsonl` and `third/manifest.jsonl`. Touch contacts and impact sounds of six objects and depth
images of 194 scenes, each with its camera picture. Sound and depth are sensors that nobody built in: one file each in
`bench/sensors`. Stage two teaches the demo's small base, which has only seen the synthetic world, to say what colour
the object is that was touched or struck; depth has nothing that the base has words for.

Note:
    44, 45 and 37 test samples, and six objects; colour is known through the object alone; finished steps under WORK are
    kept, so that the same command goes on after a break.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pairalign.demo.base import base_folder
from pairalign.demo.lessons import pack_lessons

ROOT = Path(__file__).parents[1]
COLOURS = {
    "Blue_Bowl": "blue", "Portion_Cup_White": "white", "Glass_Red": "red", "Scoop": "blue", "Fork_Small": "red",
    "Swan_Small": "red",
}  # fmt: skip
QUESTION = "what colour is it?"


class Sensor(NamedTuple):
    """folder: of the manifest. rows: its value of `set`. columns: of the modality. pairs: name of the shard folder."""

    folder: str
    rows: str
    columns: tuple[str, ...]
    pairs: str
    config: str
    plugin: str | None = None
    objects: bool = True


SENSORS = {
    "touch": Sensor("touch", "objectfolder_real_contacts", ("touch=touch_diff",), "contacts", "touch_image"),
    "sound": Sensor("third", "impact_audio", ("sound=sensor_file",), "impacts", "impact_image", "impact_sound"),
    "depth": Sensor("third", "rgbd_materials", ("depth=sensor_file",), "scenes", "depth_image", "depth", False),
}


def pairalign(*words: Any, fine: tuple[int, ...] = (0,)) -> None:
    """One real command; any other exit code than `fine` ends the bench."""
    command = [sys.executable, "-m", "pairalign", *map(str, words)]
    print("$ pairalign " + " ".join(map(str, words)), flush=True)
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code not in fine:
        raise SystemExit(code)


def bring_in(name: str, sensor: Sensor, args: argparse.Namespace) -> tuple[Path, list[str]]:
    """Pack and audit; returns the shards and, a line each, what the audit found."""
    home, shards = args.data / sensor.folder, args.work / "packed" / sensor.pairs
    roles = ["--column", "group=object", "--column", "label=object"] if sensor.objects else []
    columns = [word for column in (*sensor.columns, "image") for word in ("--modality", column)]
    if not (shards / "index.json").exists():
        pairalign("data", "pack", home / "manifest.jsonl", shards, "--where", f"set={sensor.rows}", *columns, *roles,
                  "--column", "key=id", "--unit", f"{name}=1", "--quiet")  # fmt: skip
    pairalign("data", "audit", shards, "--out", args.work / f"{name}-audit.json", "--quiet", fine=(0, 1))
    found = json.loads((args.work / f"{name}-audit.json").read_text())["findings"]
    return shards, [f"{f['severity']} {f['check']}: {f['message']}" for f in found]


def align(name: str, sensor: Sensor, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Plan, align and evaluate one seed; returns recall with chance and interval, both ways."""
    out = args.work / "runs" / f"{name}-{seed}"
    plugin = ["--plugin", ROOT / "bench" / "sensors" / f"{sensor.plugin}.py"] if sensor.plugin else []
    config = ROOT / "configs" / "real" / f"{sensor.config}.yaml"
    settings = [f"data.root={args.work / 'packed'}", f"out={out}", f"seed={seed}", *args.override]
    if not (out / "evaluation" / "metrics.json").exists():
        pairalign("plan", config, *settings, *plugin)
        pairalign("align", config, *settings, *plugin, "--quiet")
        alike = ["--same-group"] if sensor.objects else []
        shards = args.work / "packed" / sensor.pairs
        pairalign("evaluate", out, "--pairs", shards, *alike, "--quiet")  # the run remembers its plugin
    (pool,) = json.loads((out / "evaluation" / "metrics.json").read_text())["pools"].values()
    (pair,) = pool["pairs"].values()
    return {
        f"{kind} {way}": pair[kind][way]["R@1"]
        for kind in ("retrieval", "retrieval_same_group")
        for way in ("forward", "backward")
        if kind in pair
    }


def write_questions(name: str, sensor: Sensor, args: argparse.Namespace) -> None:
    """A manifest of questions about the same recordings, and its pack."""
    shards = args.work / "lessons" / name
    if (shards / "index.json").exists():
        return
    lines = (args.data / sensor.folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["set"] == sensor.rows]
    asked = [{**row, "question": QUESTION, "answer": COLOURS[row["object"]]} for row in rows]
    manifest = args.work / f"{name}-questions.jsonl"
    manifest.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    columns = [word for column in (*sensor.columns, "question", "answer") for word in ("--modality", column)]
    pairalign("data", "pack", manifest, shards, "--root", args.data / sensor.folder, *columns, "--column", "key=id",
              "--column", "group=object", "--unit", f"{name}=1", "--quiet")  # fmt: skip


def teach(name: str, sensor: Sensor, method: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Stage two of one seed; returns exact answers before and after, of the sensor and of what the base could do."""
    out = args.work / "taught" / f"{name}-{method}-{seed}"
    told = {"shards": f"lessons/{name}", "prompt": f"{{{name}}} {{question}}", "answer": "{answer}"}
    kept = {"image": "{image} {question}", "text": "{text}. {question}"}
    config = {
        "base": str(base_folder()), "dtype": "float32", "root": str(args.work), "out": str(out), "seed": seed,
        "sensors": {name: {"run": f"runs/{name}-{seed}", "bridge": "mlp", "tokens": 4}},
        "tasks": {"colour": told}, "validation": {"colour": {**told, "split": "test"}},
        "held_out": {task: {"shards": f"lessons/{task}", "prompt": prompt, "answer": "{answer}", "split": "val"}
                     for task, prompt in kept.items()},
        "calibration": {"pictures": {"shards": "lessons/image", "prompt": "{image} {question}", "answer": "",
                                     "split": "train"}},
        "calibration_size": 96, "method": method,
        "dormant": {"score": "splash", "structure": "rows", "density": 0.1},
        "train": {"steps": args.steps, "batch_size": 24, "lr": 5e-4, "bridge_lr": 2e-3, "warmup": 20,
                  "validate_every": 0, "accelerator": "cpu", "threads": 1},
    }  # fmt: skip
    if not (out / "results.json").exists():
        path = args.work / f"{name}-{method}-{seed}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        plugin = ["--plugin", ROOT / "bench" / "sensors" / f"{sensor.plugin}.py"] if sensor.plugin else []
        pairalign("recompose", path, *plugin, "--dry-run")
        pairalign("recompose", path, *plugin, "--quiet")
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results


def spread(values: list[float]) -> str:
    """Mean, lowest and highest run."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Every sensor through every command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sensors", nargs="+", choices=SENSORS, default=list(SENSORS))
    parser.add_argument("--methods", nargs="+", default=["dormant", "bridge"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of stage two")
    parser.add_argument("--override", nargs="*", default=[], help="section.key=value for stage one")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    for name in args.sensors:
        sensor = SENSORS[name]
        _, findings = bring_in(name, sensor, args)
        print("\n".join(findings))
        scores = [align(name, sensor, seed, args) for seed in range(args.seeds)]
        for kind, first in scores[0].items():
            print(f"{name}, {kind}: R@1 {spread([s[kind]['value'] for s in scores])}, chance {first['chance']:.3f}, "
                  f"n {first['n']}, interval of seed 0 {first['low']:.3f} to {first['high']:.3f}")  # fmt: skip
        record[name] = {"findings": findings, "stage one": scores}
        if sensor.objects:
            for lesson, sizes in (("image", {"train": 96, "val": 180}), ("text", {"val": 180})):
                pack_lessons(args.work / "lessons", lesson, sizes)
            write_questions(name, sensor, args)
            taught = {m: [teach(name, sensor, m, seed, args) for seed in range(args.seeds)] for m in args.methods}
            record[name]["stage two"] = taught
    if args.out:
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        partial.replace(args.out)


if __name__ == "__main__":
    main()
