"""Measurements in fresh processes, the arms in turn: what two benches that compare arms have in common.

A bench that is called with --arm measures that one arm and prints its record as the last line, in JSON.

Note:
    The fields of /proc/self/status are Linux's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm


def in_turn(script: str, args: argparse.Namespace, names: list[str], **environment: str) -> list[dict[str, Any]]:
    """The records of `args.arms`, `args.repeats` times in turn; `names` are the options that each process gets."""
    options = [f"--{name}={getattr(args, name)}" for name in names]
    told = {**os.environ, "OMP_NUM_THREADS": str(args.threads), **environment}
    records = []
    for _, arm in tqdm([(r, a) for r in range(args.repeats) for a in args.arms], desc="fresh processes"):
        command = [sys.executable, script, "--arm", arm, *options]
        done = subprocess.run(command, env=told, check=True, stdout=subprocess.PIPE)
        records.append(json.loads(done.stdout.splitlines()[-1]))
    return records


def write(out: Path | None, args: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    """The records and the settings that they were measured with, where a file is asked for."""
    if out:
        partial = out.with_suffix(".partial")
        partial.write_text(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, "records": records}))
        partial.replace(out)


def status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def spread(values: list[float], unit: str) -> str:
    """Median with the lowest and highest."""
    return f"{statistics.median(values):.3g}{unit} [{min(values):.3g}, {max(values):.3g}]"
