"""Stage one on real recordings: shapes with names, and touches with camera images.

    python bench/real_stage_one.py DATA --text-tower FOLDER --work WORK --out real.json [--parts shapes unseen touch]

DATA holds `shapes/manifest.jsonl` and `touch/manifest.jsonl`; FOLDER is a Hugging Face sentence encoder. Every arm goes
through the library's own door: pack, audit, configuration in `configs/real`, `align_pairs`, the library's scores. One
thread; each finished arm is kept under WORK, so that the same command goes on after a break.

Note:
    The touch set has 6 objects and 44 test contacts, so intervals are wide; settings were chosen on splits of the
    training part, and on other draws of ten classes, only.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pairalign.evaluate.zero_shot import ZeroShotScore
from real_shapes import (
    HELD,
    UNSEEN_ARMS,
    class_names,
    classify_supervised,
    configuration,
    draws,
    duplicates,
    labels_of,
    name_classes,
    pack_shapes,
    train_aligned,
    train_classifier,
)
from real_touch import ARMS, pack_touch, score_touch

Record = dict[str, Any]


def arm(work: Path, name: str, make: Callable[[], Record]) -> Record:
    """The record of one arm, made unless it is there."""
    path = work / "arms" / f"{name}.json"
    if not path.exists():
        print(f"{name} …", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(make(), indent=1), encoding="utf-8")
        partial.replace(path)
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    print(f"{name}: " + json.dumps({k: v for k, v in record.items() if not isinstance(v, (list, dict))}), flush=True)
    return record


def top1(score: ZeroShotScore) -> Record:
    """Top-1 and class mean, with interval."""
    one, mean = score.overall[1], score.class_mean[1]
    found = {"top1": one.value, "interval": [one.low, one.high], "class_mean": mean.value}
    return {**found, "n": one.n, "chance": one.chance}


def shapes(args: argparse.Namespace) -> list[Record]:
    """All 54 classes: aligned with text against supervised."""
    packed = pack_shapes(args.data, args.work / "shapes")
    names = class_names(packed, "train")
    twice = arm(args.work, "duplicates", lambda: {"keys": sorted(duplicates(packed))})["keys"]
    once = pack_without(packed, set(twice), args.work / "shapes_once")
    found = []
    for seed in range(args.seeds):

        def aligned(seed: int = seed) -> Record:
            out = args.work / "runs" / f"shapes{seed}"
            run, seconds = train_aligned(configuration(packed, args.text_tower, out, seed, args.steps, args.override))
            return {
                **top1(name_classes(run, packed, "test", names)),
                "once": top1(name_classes(run, once, "test", names)),
                "cpu_seconds": seconds,
            }

        def supervised(seed: int = seed) -> Record:
            out = args.work / "runs" / f"supervised{seed}"
            config = configuration(packed, args.text_tower, out, seed, args.steps, args.override)
            model, seconds = train_classifier(config, names)
            return {
                **top1(classify_supervised(model, packed, names)),
                "once": top1(classify_supervised(model, once, names)),
                "cpu_seconds": seconds,
            }

        found += [
            {"arm": "aligned", "seed": seed, **arm(args.work, f"shapes-aligned-{seed}", aligned)},
            {"arm": "supervised", "seed": seed, **arm(args.work, f"shapes-supervised-{seed}", supervised)},
        ]
    return found


def pack_without(packed: Path, keys: set[str], out: Path) -> Path:
    """The same shards without some test samples."""
    from pairalign.data.pack import pack_pairs
    from pairalign.data.shards import read_samples

    if not (out / "index.json").exists():
        rows = (
            {"key": s.key, **s.values, "label": s.values["text"], "split": "test"}
            for s in read_samples(packed, "test", ["points", "text"])
            if s.key not in keys
        )
        pack_pairs(rows, out, modalities=["points", "text"], progress=False)
    return out


def unseen(args: argparse.Namespace) -> list[Record]:
    """Ten classes left out of training, named afterwards: the recipe against plain InfoNCE."""
    names = class_names(pack_shapes(args.data, args.work / "shapes"), "train")
    found = []
    for number, left_out in enumerate(draws(names, args.draws, args.draw_seed)):
        packed = pack_shapes(args.data, args.work / f"unseen{args.draw_seed}-{number}", left_out)
        for name in args.arms:

            def make(name: str = name, packed: Path = packed, seed: int = number) -> Record:
                out = args.work / "runs" / f"{packed.name}-{name}{args.tag}"
                every = [*UNSEEN_ARMS[name], *args.override]
                run, seconds = train_aligned(
                    configuration(packed, args.text_tower, out, seed, args.unseen_steps, every)
                )
                held = sorted(set(labels_of(packed, HELD).values()))
                seen = sorted(set(labels_of(packed, "train").values()))
                return {
                    **top1(name_classes(run, packed, HELD, held, known=seen)),
                    "direct": top1(name_classes(run, packed, HELD, held)),
                    "seen_top1": name_classes(run, packed, "test", seen).overall[1].value,
                    "cpu_seconds": seconds,
                    "classes": held,
                }

            found.append({"arm": name, "draw": number, **arm(args.work, f"{packed.name}-{name}{args.tag}", make)})
    return found


def touch(args: argparse.Namespace) -> list[Record]:
    """Contacts, `touch_diff` with the hand camera: the recipe against plain InfoNCE with the same networks."""
    found = []
    folds = [None] if args.folds is None else args.folds
    for number in range(args.seeds if args.folds is None else len(folds)):
        fold = folds[number % len(folds)]
        packed = pack_touch(args.data, args.work / ("touch" if fold is None else f"touch-fold{fold}"), fold)
        for name in args.touch_arms:

            def make(name: str = name, packed: Path = packed, seed: int = number) -> Record:
                return score_touch(packed, args.work, name, seed, args.touch_override, args.tag)

            record = arm(args.work, f"{packed.name}-{name}{args.tag}-{number}", make)
            found.append({"arm": name, "seed": number, **record})
    return found


PARTS = {"shapes": shapes, "unseen": unseen, "touch": touch}


def rows(part: str, records: list[Record]) -> list[str]:
    """Markdown rows: mean, median and range over the runs of every figure of every arm."""
    lines = ["| part | arm | figure | mean | median | lowest to highest run | runs |", "|---|---|---|---|---|---|---|"]
    for name in dict.fromkeys(record["arm"] for record in records):
        mine = [flat(record) for record in records if record["arm"] == name]
        for key in (key for key, value in mine[0].items() if isinstance(value, float)):
            values = [record[key] for record in mine]
            spread = f"{statistics.mean(values):.3f} | {statistics.median(values):.3f}"
            lines.append(
                f"| {part} | {name} | {key} | {spread} | {min(values):.3f} to {max(values):.3f} | {len(values)} |"
            )
    return lines


def flat(record: Record, prefix: str = "") -> Record:
    """Nested records with joined names; an interval [low, high] becomes two figures, so that their means show too."""
    found: Record = {}
    for key, value in record.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}, ")
        elif key == "interval" or prefix == "intervals, ":
            found |= {
                f"{prefix}{key} {end}": number for end, number in zip(("low", "high", "chance"), value, strict=False)
            }
        else:
            found[prefix + key] = value
    return found


def main() -> None:
    """Run the parts and write every record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the recordings")
    parser.add_argument("--text-tower", type=Path, help="folder of a Hugging Face text model; for shapes and unseen")
    parser.add_argument("--work", type=Path, required=True, help="folder for shards, runs and finished arms")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4400, help="of batches of 32, for 54 classes")
    parser.add_argument("--unseen-steps", type=int, default=700)
    parser.add_argument("--draws", type=int, default=5, help="random choices of ten classes")
    parser.add_argument("--draw-seed", type=int, default=0)
    parser.add_argument("--override", nargs="*", default=[], help="settings of the shapes' recipe, for both arms")
    parser.add_argument("--arms", nargs="+", choices=list(UNSEEN_ARMS), default=list(UNSEEN_ARMS), help="of `unseen`")
    parser.add_argument("--touch-arms", nargs="+", choices=list(ARMS), default=["recipe", "plain"])
    parser.add_argument("--touch-override", nargs="*", default=[], help="settings of every arm of `touch`")
    parser.add_argument("--folds", nargs="+", type=int, help="for settings: test on these quarters of touch's training")
    parser.add_argument("--tag", default="", help="suffix of the records of `unseen` and `touch`")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if {"shapes", "unseen"} & set(args.parts) and not args.text_tower:
        parser.error("--text-tower: give the folder of a sentence encoder, such as all-MiniLM-L6-v2")
    results = {part: PARTS[part](args) for part in args.parts}
    for part, records in results.items():
        print("", *rows(part, records), sep="\n")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
