"""The fast tests under other interpreters, each with an environment of its own.

    PYTHONS=env3.12/bin/python:env3.13/bin/python python bench/faults.py pythons --out faults

An interpreter is one in whose environment `pip install '.[test]'` has put what the tests need; each runs README's test
command in this checkout. A test that an interpreter skips is told, not counted.

Note:
    A run that ends without pytest's summary, after a crash or at its time limit, has held nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

COUNT = 3600  # seconds that an interpreter may take
ROOT = Path(__file__).parents[2]
_ABOUT = """
import platform, torch, transformers
print(platform.python_version(), torch.__version__, transformers.__version__)
"""
_SUMMARY = re.compile(r"^(?:\d+ \w+, )*\d+ \w+.* in [\d.]+s", re.MULTILINE)
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b")


class Tested(NamedTuple):
    """What one interpreter made of the tests. about: its version, torch's and transformers'."""

    about: tuple[str, ...]
    passed: int
    broken: int
    skipped: int
    failures: tuple[str, ...]


def measure(work: Path, count: int, seed: int) -> dict[str, Any]:
    """Run them under every interpreter of $PYTHONS. count: seconds for each. seed: of no use here."""
    told = [name for name in os.environ.get("PYTHONS", "").split(os.pathsep) if name]
    if not told:
        raise SystemExit("pythons: name interpreters that have the tests' packages, PYTHONS=PATH:PATH")
    return summarise([_tested(name, work, count) for name in tqdm(told, desc="pythons", unit="interpreter")])


def _tested(python: str, work: Path, seconds: int) -> Tested:
    """Run the tests of this checkout, whatever is installed beside the packages."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "encoders")])
    environment = {**os.environ, "PYTHONPATH": path, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    about = subprocess.run([python, "-c", _ABOUT], capture_output=True, text=True, check=True, env=environment)
    output = work / f"python-{about.stdout.split()[0]}.txt"
    with output.open("w", encoding="utf-8") as file:
        command = [python, "-m", "pytest", "-p", "no:cacheprovider"]
        try:
            subprocess.run(command, stdout=file, stderr=file, cwd=ROOT, env=environment, timeout=seconds)
        except subprocess.TimeoutExpired:
            file.write("\ntold to stop at its time limit\n")
    return read(tuple(about.stdout.split()), output.read_text(encoding="utf-8", errors="replace"))


def read(about: tuple[str, ...], output: str) -> Tested:
    """Counts out of what pytest printed."""
    lines = _SUMMARY.findall(output)
    if not lines:
        return Tested(about, 0, 1, 0, (f"{about[0]}: no summary: {output.strip()[-200:]}",))
    counts = {word.rstrip("s") if word.startswith("error") else word: int(n) for n, word in _COUNTS.findall(lines[-1])}
    broken = sum(counts.get(word, 0) for word in ("failed", "error", "xpassed"))
    failed = tuple(f"{about[0]}: {line}" for line in re.findall(r"^(?:FAILED|ERROR) .*", output, re.MULTILINE))
    return Tested(about, counts.get("passed", 0), broken, counts.get("skipped", 0), failed)


def summarise(found: list[Tested]) -> dict[str, Any]:
    """The section of these."""
    return {
        "section": "pythons",
        "what": "the fast tests, each interpreter in an environment of its own",
        "tried": sum(one.passed + one.broken for one in found),
        "held": sum(one.passed for one in found),
        "failures": [failure for one in found for failure in one.failures],
        "settings": {"workflow": ".github/workflows/ci.yml runs them on 3.11, 3.12 and 3.13"},
        "rows": [
            {
                **dict(zip(("Python", "torch", "transformers"), one.about, strict=True)),
                "passed": one.passed,
                "failed": one.broken,
                "skipped": one.skipped,
            }
            for one in found
        ],
    }
