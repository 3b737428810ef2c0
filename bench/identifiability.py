"""Identifiability on synthetic worlds: the full recipe and each ablation, several seeds, one thread.

    python bench/identifiability.py --seeds 3 --out runs/identifiability

Finished runs are kept under `--out`, one JSON each; the same command goes on after a break. It writes
`identifiability.json` (every R², mean and std over seeds), `identifiability.png` (heat map) and prints the
figures.

Note:
    It measures one small world (a chain of four modalities) with infinite fresh data, not real sensors.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from identifying import VARIANTS, StudyConfig, draw_study, study

REACH = {"shared from shared": "≥ 0.95", "private from shared": "≤ 0.10"}


def main() -> None:
    """Run what is missing, then write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=StudyConfig.steps)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    args = parser.parse_args()
    torch.set_num_threads(1)

    config = dataclasses.replace(StudyConfig(), steps=args.steps)
    found = study(range(args.seeds), args.variants, config, folder=args.out / "runs", progress=True)
    found.save(args.out / "identifiability.json")
    draw_study(found).savefig(args.out / "identifiability.png", bbox_inches="tight", facecolor="white")
    print(found.text())
    full = found.figures(args.variants[0])
    for name, reach in REACH.items():
        print(f"to reach, {args.variants[0]}: {name} {reach}; found {full[name].kernel:.3f}")
    seconds = [result.seconds for result in found.results]
    print(f"{len(seconds)} runs, {sum(seconds) / 60:.1f} CPU minutes; written to {args.out}")


if __name__ == "__main__":
    main()
