"""Learning against forgetting, for dormant tuning, its controls and every baseline, over one grid of learning rates.

    pairalign demo --out demo
    python bench/front.py --demo demo --out front

A small LLaVA that reads pictures and words of the built-in world learns to answer questions about touches. Every arm's
learning rate is chosen from the grid by the sensor's own validation questions, with seed 0; what is forgotten is looked
at afterwards, on other objects, and partly on kinds of questions that no calibration set holds, without a touch in the
prompt and with one before or behind that has nothing to do with the question. Arms act at every token, as published,
unless their name says otherwise. Then two more seeds, of the arms whose figures with seed 0 put them on the front or
near it, of their random controls and of full tuning (`--seeds-for front`, see `fronts/choice.py`); `--seeds-for all`
gives them to every arm, `--core` to those that it names. All of it synthetic.

Note:
    `--workers` processes of one thread each; what is finished is kept, so that it can be stopped. A run of 500 steps
    takes about 75 s on one core, and the grid of all arms has three for each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fronts.arms import ARMS, SEEDS
from fronts.choice import arms_with_seeds, best_rates
from fronts.page import picture, rates_table, table
from fronts.runs import pack, run_all


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of a finished `pairalign demo`")
    parser.add_argument("--out", type=Path, default=Path("front"))
    parser.add_argument("--base", default=None, help="base model; default: the demo's own")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="*", choices=[arm.name for arm in ARMS], metavar="ARM", help="only these")
    parser.add_argument("--seeds-for", choices=("all", "front"), default="front", help="which arms get more seeds")
    parser.add_argument("--core", nargs="*", choices=[arm.name for arm in ARMS], metavar="ARM", help="only these do")
    return parser.parse_args()


def main() -> None:
    """Choose rates with one seed, add seeds, write table, picture and JSON."""
    args = arguments()
    from pairalign.demo.base import base_folder

    args.demo, args.out = args.demo.resolve(), args.out.resolve()
    args.base = args.base or str(base_folder())
    pack(args.out)
    arms, more = [arm for arm in ARMS if not args.arms or arm.name in args.arms], SEEDS[1 : args.seeds]
    core = [arm for arm in arms if arm.name in args.core] if args.core else None
    later = len(more) * len(arms if core is None else core)
    found = run_all([(arm, rate, SEEDS[0]) for arm in arms for rate in arm.rates], args, later)
    chosen = best_rates(found, arms)
    if core is None:
        core = arms_with_seeds(found, chosen, arms, args.seeds_for)
    if more:
        print(f"{len(more)} more seeds for {len(core)} of {len(arms)} arms: {'; '.join(arm.name for arm in core)}")
        found |= run_all([(arm, chosen[arm.name], seed) for arm in core for seed in more], args)
    page = f"{table(found, chosen, args.seeds, arms)}\n\n{rates_table(found, arms)}\n"
    (args.out / "front.md").write_text(page, encoding="utf-8")
    print(page)
    if len(arms) == len(ARMS):
        picture(found, chosen, arms, args.out / "front.png")
    flat = [{"arm": n, "rate": r, "seed": s, **result} for (n, r, s), result in found.items()]
    (args.out / "front.json").write_text(json.dumps({"chosen": chosen, "runs": flat}, indent=1))


if __name__ == "__main__":
    main()
