"""Learning against forgetting, for dormant tuning, its controls and every baseline, over one grid of learning rates.

    pairalign demo --out demo
    python bench/front.py --demo demo --out front

A small LLaVA that reads pictures and words of the built-in world learns to answer questions about touches. Every arm's
learning rate is chosen from the grid by the sensor's own validation questions, with seed 0; what is forgotten is looked
at afterwards, on other objects, and partly on kinds of questions that no calibration set holds, without a touch in the
prompt and with one before or behind that has nothing to do with the question. Arms act at every token, as published,
unless their name says otherwise. Then two more seeds. All of it synthetic.
Where it bites: `--workers` processes of one thread each; what is finished is kept, so that it can be stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)
SIZES = {"touch": 1500, "touch_pairs": 1500, "image": 120, "text": 120, "words": 0}
HELD = {"touch": 240, "touch_pairs": 240, "image": 250, "text": 240, "words": 100}


Found = dict[tuple[str, float, int], dict[str, Any]]  # results by arm, rate, seed


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    name: str
    method: str = "dormant"
    dormant: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    calibration: str = "captions"  # or "questions", about pictures and texts, with answers


ALWAYS, BEHIND = {"acts": "always"}, {"acts": "sensor"}


def rows(score: str, **more: Any) -> dict[str, Any]:
    return {"score": score, "structure": "rows", "density": 0.1, **ALWAYS, **more}


def directions(density: float = 0.1, **more: Any) -> dict[str, Any]:
    return {"structure": "directions", "density": density, **ALWAYS, **more}


ATTENTION, GATE_UP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj")
SPLASH = {"score": "splash", "structure": "weights", "density": 0.6, "layers_to_transform": (1, 2), **ALWAYS}
ARMS = (
    Arm("full tuning", "full"),
    Arm("bridge only", "bridge"),
    Arm("LoRA r 12", "lora", options={"rank": 12}),
    Arm("LwF .1", "lwf", options={"weight": 0.1}),
    Arm("WiSE-FT .5", "wise_ft"),
    Arm("EWC", "ewc", options={"weight": 100.0}, calibration="questions"),
    Arm("SPIDER's blend", "spider"),
    Arm("4 LoRA experts r 4", "moe_lora"),
    Arm("SA-proj", dormant={"structure": "matrices", "target_modules": ATTENTION, **ALWAYS}),
    Arm("Gate&Up", dormant={"structure": "matrices", "target_modules": GATE_UP, **ALWAYS}),
    Arm("Splash as published, .6", dormant=SPLASH),
    Arm("rows .1, Splash, from the sensor on", dormant=rows("splash", **BEHIND)),
    Arm("rows .1, Splash", dormant=rows("splash")),
    Arm("rows .1, random", dormant=rows("random")),
    Arm("rows .1, highest Splash", dormant=rows("splash", choose="highest")),
    Arm("directions .1, least used", dormant=directions()),
    Arm("directions .3, random", dormant=directions(0.3, score="random")),
    Arm("directions .3, most used", dormant=directions(0.3, choose="highest")),
    Arm("directions .3, least used", dormant=directions(0.3)),
    Arm("rows .1, Splash on questions", dormant=rows("splash"), calibration="questions"),
    Arm("directions .3, least used on questions", dormant=directions(0.3), calibration="questions"),
)


def settings(arm: Arm, rate: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The configuration of one run."""
    asked = {"answer": "{answer}"}
    touch = {"shards": "lessons/touch", "prompt": "{touch} {question}", **asked}
    pairs = {
        "shards": "lessons/touch_pairs",
        "prompt": "{first} and {second} {question}",
        "signals": {"first": "touch", "second": "touch"},
        **asked,
    }
    image = {"shards": "lessons/image", "prompt": "{image} {question}", **asked}
    text = {"shards": "lessons/text", "prompt": "{text}. {question}", **asked}
    held = {
        "image": {**image, "split": "val"},
        "text": {**text, "split": "val"},
        "words": {"shards": "lessons/words", "prompt": "{question}", "split": "val", **asked},
    }
    captions = {"shards": str(args.demo / "pairs" / "image-text"), "prompt": "{image} {text}", "answer": ""}
    return {
        "base": args.base,
        "dtype": "float32",
        "root": str(args.out),
        "out": str(args.out / "runs" / f"{arm.name} {rate:g} {seed}".replace(" ", "_").replace("/", "_")),
        "seed": seed,
        "senses": {"touch": {"run": str(args.demo / "run"), "tokens": 4}},
        "tasks": {"touch": touch, "pairs": pairs},
        "validation": {"touch": {**touch, "split": "val"}, "pairs": {**pairs, "split": "val"}},
        "held_out": held,
        "calibration": {"captions": captions} if arm.calibration == "captions" else {"image": image, "text": text},
        "calibration_size": 96,
        "method": arm.method,
        "options": arm.options,
        "dormant": arm.dormant,
        "train": {
            "steps": args.steps,
            "batch_size": 24,
            "warmup": 20,
            "lr": rate,
            "bridge_lr": 2e-3,
            "accelerator": "cpu",
            "threads": 1,
            "validate_every": args.every,
        },
    }


def run_one(values: dict[str, Any]) -> dict[str, Any]:
    """Train and measure in this process; a run that went non-finite counts as having learned nothing."""
    from pairalign import RecomposeConfig, load_config, recompose_mllm
    from pairalign.core.errors import DataError

    start, finished = time.perf_counter(), Path(values["out"]) / "results.json"
    if finished.exists():
        return dict(json.loads(finished.read_text()))
    try:
        results = recompose_mllm(load_config(RecomposeConfig, values), progress=False).results
    except DataError as error:
        return {"failed": str(error)}
    return {**results, "seconds": time.perf_counter() - start}


def pack(out: Path) -> None:
    """Questions for training and measuring."""
    from pairalign.demo.lessons import pack_lessons

    for name, count in SIZES.items():
        pack_lessons(out / "lessons", name, {"train": count, "val": HELD[name]} if count else {"val": HELD[name]})


def run_all(
    jobs: list[tuple[Arm, float, int]], args: argparse.Namespace
) -> dict[tuple[str, float, int], dict[str, Any]]:
    """Every job's results, in `args.workers` processes."""
    found = {}
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run_one, settings(a, r, s, args)): (a.name, r, s) for a, r, s in jobs}
        for done in tqdm(as_completed(waiting), total=len(jobs), desc="runs"):
            found[waiting[done]] = done.result()
    return found


def learned(result: dict[str, Any]) -> float:
    return result["learning"]["points"] if "learning" in result else float("-inf")


def table(found: Found, chosen: dict[str, float], seeds: int, arms: Sequence[Arm]) -> str:
    """One row an arm at its chosen rate: means over seeds with their range."""
    lines = [
        "| arm | trained | rate | seeds | learning | forgetting | signal before | signal behind | worst task | drift |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        of = [found.get((arm.name, chosen[arm.name], seed), {}) for seed in SEEDS[:seeds]]
        of = [result for result in of if "learning" in result]
        if not of:
            continue
        learning, lost = [r["learning"]["points"] for r in of], [r["forgetting"]["points"] for r in of]
        before, behind = (
            spread([r["with_signals"]["forgetting"][place]["points"] for r in of]) for place in ("before", "behind")
        )
        drift = [statistics.mean(t["drift"] for t in r["after"]["held_out"].values()) for r in of]
        worst = min((r["forgetting"] for r in of), key=lambda w: w["worst_points"])
        lines.append(
            f"| {arm.name} | {of[0]['trained']:,} | {chosen[arm.name]:g} | {len(of)} | {spread(learning)} | "
            f"{spread(lost)} | {before} | {behind} | {worst['worst']} {worst['worst_points']:+.1f} | "
            f"{statistics.mean(drift):.3f} |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean (lowest to highest)."""
    return f"{statistics.mean(values):+.1f} ({min(values):+.1f} to {max(values):+.1f})"


def picture(found: Found, chosen: dict[str, float], path: Path) -> None:
    """Every run as a dot, those at a chosen rate filled; a number at the mean of each arm, named beside."""
    from pairalign.data.draw import INK, MUTED, PALETTE, lay_out, new_figure

    figure, axes = new_figure(11.0, 6.0, 1, 2, width_ratios=[3, 1])
    ax, names = axes.flat
    names.axis("off")
    for n, arm in enumerate(ARMS):
        colour, marker = PALETTE[n % len(PALETTE)], "os^D"[n // len(PALETTE)]
        best = []
        for (name, rate, _), result in found.items():
            if name == arm.name and "learning" in result:
                at = (max(result["forgetting"]["points"], 0.0), result["learning"]["points"])
                filled = rate == chosen[name]
                ax.scatter(*at, s=26 if filled else 12, color=colour, alpha=1 if filled else 0.35, marker=marker)
                best += [at] if filled else []
        middle = tuple(statistics.mean(values) for values in zip(*best, strict=True))
        ax.annotate(str(n + 1), middle, xytext=(4, 4), textcoords="offset points", fontsize=9, color=INK)
        y = 1 - (n + 0.5) / len(ARMS)
        names.scatter([0.03], [y], s=26, color=colour, marker=marker)
        names.text(0.1, y, f"{n + 1}  {arm.name}", fontsize=8, color=INK, va="center")
    names.set_xlim(0, 1)
    names.set_ylim(0, 1)
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("forgetting, points of held-out accuracy lost", color=MUTED)
    ax.set_ylabel("learning, points on the sensor's questions", color=MUTED)
    lay_out(figure)
    figure.patch.set_facecolor("white")
    figure.patch.set_alpha(1)
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    partial.replace(path)


def main() -> None:
    """Choose rates with one seed, add seeds, write table, picture and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of a finished `pairalign demo`")
    parser.add_argument("--out", type=Path, default=Path("front"))
    parser.add_argument("--base", default=None, help="base model; default: the demo's own")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--core", nargs="*", help="only these get more seeds than one")
    args = parser.parse_args()
    from pairalign.demo.base import base_folder

    args.demo, args.out = args.demo.resolve(), args.out.resolve()
    args.base = args.base or str(base_folder())
    pack(args.out)
    arms = [arm for arm in ARMS if not args.arms or arm.name in args.arms]
    found = run_all([(arm, rate, 0) for arm in arms for rate in (RATES if arm.method != "bridge" else RATES[:1])], args)
    chosen = {}
    for arm in arms:
        rates = [rate for name, rate, _ in found if name == arm.name]
        chosen[arm.name] = max(rates, key=lambda rate, name=arm.name: learned(found[name, rate, 0]))
    core = [arm for arm in arms if not args.core or arm.name in args.core]
    found |= run_all([(arm, chosen[arm.name], seed) for arm in core for seed in SEEDS[1 : args.seeds]], args)
    print(table(found, chosen, args.seeds, arms))
    if len(arms) == len(ARMS):
        picture(found, chosen, args.out / "front.png")
    flat = [{"arm": n, "rate": r, "seed": s, **result} for (n, r, s), result in found.items()]
    (args.out / "front.json").write_text(json.dumps({"chosen": chosen, "runs": flat}, indent=1))


if __name__ == "__main__":
    main()
