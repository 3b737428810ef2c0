"""The demo's figures: `pairalign demo` run whole, several seeds, on the synthetic world.

    python bench/demo_world.py --seeds 3 --out demo_world

Each seed makes its own world and its own run, in a fresh process, under `--out`; finished ones are kept. Wall time is
that of the whole command: start, rendering, training, evaluation, report.

Note:
    Everything is synthetic. The interval of a score is over held-out objects of one world; the spread over seeds is
    given beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REACH = {
    "test: worst trained edge, top-1 on shared factors": "≥ 0.90",
    "test: worst emergent edge, top-1 on shared factors": "≥ 0.80",
    "novel: worst emergent edge, top-1 on shared factors": "≥ 0.70",
    "test: hardness from touch's private part": "≥ 0.90",
}


def run_seed(seed: int, out: Path, overrides: list[str]) -> dict[str, Any]:
    """Run the demo with one seed, unless its record is there."""
    record = out / f"seed{seed}.json"
    if not record.exists():
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "pairalign",
            "demo",
            "--seed",
            str(seed),
            "--out",
            str(out / f"demo{seed}"),
        ]
        subprocess.run([*command, *overrides], check=True)
        wall = time.perf_counter() - start
        figures = json.loads((out / f"demo{seed}" / "figures.json").read_text(encoding="utf-8"))
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps({"seed": seed, "wall_seconds": wall, "figures": figures}, indent=1), "utf-8")
        partial.replace(record)
    return dict(json.loads(record.read_text(encoding="utf-8")))


def main() -> None:
    """Run every seed and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="settings of demo.yaml, as section.key=value")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and records")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    records = [run_seed(seed, args.out, args.overrides) for seed in range(args.seeds)]
    print(f"synthetic world, {args.seeds} seeds: median [lowest, highest]")
    for name in records[0]["figures"]:
        values = [record["figures"][name] for record in records]
        line = f"{name:<58}{statistics.median(values):6.3f} [{min(values):.3f}, {max(values):.3f}]"
        print(f"{line}  to reach {REACH[name]}" if name in REACH else line)
    walls = [record["wall_seconds"] for record in records]
    print(f"whole command: {statistics.median(walls):.0f} s [{min(walls):.0f}, {max(walls):.0f}]")


if __name__ == "__main__":
    main()
