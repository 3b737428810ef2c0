"""Five skills one after the other in the built-in world: what each way to learn keeps, loses and gets back.

    pairalign demo --out demo
    python bench/sequence.py --demo demo --out sequence             # `--quick` for a look; the same command goes on

A small LLaVA that reads pictures and words is taught texture by touch, hardness by touch, to compare two touches, and
shape and size by point clouds, in this order, each from where the one before ended. After each, all five are asked, and
pictures, texts and words as held-out tasks. Arms: the attention projections and the gate and up projections alone
(arXiv:2510.08564), full tuning, LoRA that goes on and LoRA that is merged after each skill, and dormant rows that act
everywhere or from the sensor on. All of it synthetic.

Note:
    One learning rate for each arm, given here and chosen by no search; the bridges of the sensors that a skill shows
    train in every arm.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SKILLS = {  # shards, prompt, kind of question
    "touch texture": ("touch_texture", "{touch} {question}", "touch", "texture"),
    "touch hardness": ("touch_hardness", "{touch} {question}", "touch", "hardness"),
    "touch pairs": ("touch_pairs", "{first} and {second} {question}", "touch", None),
    "points shape": ("points_shape", "{points} {question}", "points", "shape"),
    "points size": ("points_size", "{points} {question}", "points", "size"),
}
ATTENTION, GATE_UP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj"]
MATRICES = {"structure": "matrices", "acts": "always"}
ROWS = {"structure": "rows", "score": "splash", "density": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "SA-proj": {"dormant": {**MATRICES, "target_modules": ATTENTION}},
    "Gate&Up": {"dormant": {**MATRICES, "target_modules": GATE_UP}},
    "full tuning": {"method": "full", "train": {"lr": 3e-4}},
    "LoRA r 12": {"method": "lora", "options": {"rank": 12}},
    "LoRA r 12, merged": {"method": "lora", "options": {"rank": 12}, "start": {"updates": "new"}},
    "rows .1, always": {"dormant": {**ROWS, "acts": "always"}},
    "rows .1, from the sensor on": {"dormant": {**ROWS, "acts": "sensor"}},
}


def pack(out: Path, train: int, held: int) -> None:
    """Questions of each skill alone, and of what is held out."""
    from pairalign.demo.lessons import pack_lessons

    for shards, _, modality, about in SKILLS.values():
        name, sizes = f"{modality}_pairs" if about is None else modality, {"train": train, "val": held}
        kinds = None if about is None else [f"{modality}.{about}"]
        pack_lessons(out / "lessons", name, sizes, kinds=kinds, called=shards)
    for name in ("image", "text", "words"):
        pack_lessons(out / "lessons", name, {"val": held})


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """The configuration of everything."""
    from pairalign.demo.base import base_folder

    stages = []
    for name, (shards, prompt, modality, _) in SKILLS.items():
        task: dict[str, Any] = {"shards": f"lessons/{shards}", "prompt": prompt, "answer": "{answer}"}
        if "{first}" in prompt:
            task["signals"] = {"first": modality, "second": modality}
        stages.append({"name": name, "tasks": {name: task}, "validation": {name: {**task, "split": "val"}}})
    asked = {"answer": "{answer}", "split": "val"}
    prompts = {"image": "{image} {question}", "text": "{text}. {question}", "words": "{question}"}
    captions = {"shards": str(args.demo / "pairs" / "image-text"), "prompt": "{image} {text}", "answer": ""}
    sense = {"run": str(args.demo / "run"), "tokens": 4}
    train = {"steps": args.steps, "batch_size": 16, "warmup": max(1, args.steps // 20), "lr": 1e-3, "bridge_lr": 2e-3}
    train |= {"accelerator": "cpu", "threads": 1, "validate_every": max(1, args.steps // 3), "measure_tokens": 8}
    return {
        "stages": stages,
        "defaults": {
            "base": args.base or str(base_folder()),
            "dtype": "float32",
            "root": str(args.out),
            "sensors": {"touch": sense, "points": sense},
            "held_out": {n: {"shards": f"lessons/{n}", "prompt": prompt, **asked} for n, prompt in prompts.items()},
            "calibration": {"captions": captions},
            "calibration_size": 96,
            "train": train,
        },
        "arms": {name: ARMS[name] for name in args.arms or ARMS},
        "seeds": list(range(args.seeds)),
        "out": str(args.out),
    }


def main() -> None:
    """Pack, teach, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of a finished `pairalign demo`")
    parser.add_argument("--out", type=Path, default=Path("sequence"))
    parser.add_argument("--base", default=None, help="base model; default: the demo's own")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--train", type=int, default=1000, help="questions of each skill")
    parser.add_argument("--held", type=int, default=150, help="questions of each measurement")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), help="only these")
    parser.add_argument("--quick", action="store_true", help="60 steps, 300 and 60 questions, one seed")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.train, args.held, args.seeds = 60, 300, 60, 1
    args.demo, args.out = args.demo.resolve(), args.out.resolve()
    from pairalign import SequenceConfig, load_config, teach_sequence

    pack(args.out, args.train, args.held)
    done = teach_sequence(load_config(SequenceConfig, settings(args)))
    print(done.report.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
