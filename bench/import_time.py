"""Wall time of `import pairalign` and `pairalign --help`, fresh processes, with the start of Python beside them.

python bench/import_time.py --repeats 15
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python, nothing imported": ["-c", "pass"],
    "import pairalign": ["-c", "import pairalign"],
    "pairalign --help": ["-m", "pairalign", "--help"],
}


def main() -> None:
    """Time each command in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(args.repeats + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            if repeat:  # the first run fills the page cache
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:<28}{statistics.median(values):7.3f} s  [{min(values):.3f}, {max(values):.3f}]")


if __name__ == "__main__":
    main()
