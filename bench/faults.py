"""What kills, full disks, damaged and hostile files, and concurrent use do to pairalign: the table docs/reliability.md.

    python bench/faults.py kills --count 20 --out faults
    python bench/faults.py table --out faults

One section a call: it tries faults by the dozen, shows its progress, and writes faults/SECTION.json with what was tried
and what held; the exit code is 1 if anything did not. `table` makes docs/reliability.md of the records that are there.
--seed gives other moments and files; --only repeats the cases whose name has this in it, from its failure's line.

Note:
    A section starts many processes and fills folders under --out; `kills` goes on with what was tried there.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
TESTS = BENCH.parent / "tests"
SUPPORT = (TESTS / "support", TESTS / "data" / "convert")  # tiny sensors, models and data sets
PACKAGES = ("torch", "lightning", "transformers", "numpy", "pillow")


def sections() -> list[str]:
    """Every module of `bench/reliability` that has something to measure."""
    found = sorted((BENCH / "reliability").glob("*.py"))
    return [path.stem for path in found if "\ndef measure(" in path.read_text(encoding="utf-8")]


def measure(section: str, out: Path, count: int | None, seed: int, only: str) -> dict[str, Any]:
    """One section's record, written to `out`; settings that a section does not know are not given to it."""
    module = importlib.import_module(f"reliability.{section}")
    known = inspect.signature(module.measure).parameters
    work = (out / "work" / section).resolve()
    work.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"work": work, "count": count or module.COUNT, "seed": seed}
    if only:
        if "only" not in known:
            raise SystemExit(f"{section} has no cases to choose among with --only")
        told["only"] = only
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    record = {**module.measure(**told), "seed": seed, "date": date.today().isoformat(), "versions": versions}
    path = out / f"{section}{'-only' if only else ''}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)
    return record


def main() -> int:
    """Run one section, or make the table."""
    sys.path[:0] = [str(BENCH), *map(str, SUPPORT)]
    names = sections()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=[*names, "table"])
    parser.add_argument("--count", type=int, help="how many of each; a section's own figure is the table's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="of `kills`: cases whose name has this in it")
    parser.add_argument("--out", type=Path, default=Path("faults"), help="folder of the records")
    args = parser.parse_args()
    if args.section == "table":
        from reliability.table import write_table

        print(write_table(args.out, BENCH.parent / "docs" / "reliability.md"))
        return 0
    record = measure(args.section, args.out, args.count, args.seed, args.only)
    print(f"{args.section}: {record['held']} of {record['tried']} held", *record["failures"], sep="\n")
    return int(record["held"] < record["tried"])


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
