"""Fuzzing what reads other people's files, each reader for so many CPU seconds in a process of its own.

    python bench/fuzz.py --each 600 --jobs 2 --out fuzz         # goes on where it was stopped
    python bench/fuzz.py --seconds 900 --only index --only shard

Every case is a good file with random changes (bits, bytes, pieces cut, doubled, moved, numbers and words that break
readers, odd values in the place of others with sums and lengths mended). A reader may read it or raise a
`PairalignError`. Findings are any other exception, a hang (more than `--limit` CPU seconds for a case), a process that
dies, and more than 1 GiB for a case. What is kept of a reader is OUT/READER.json, with the shortest input of every kind
of finding; a reader that has had its seconds there is not read again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzzing.corpus import add
from fuzzing.readers import READERS
from fuzzing.record import Record
from fuzzing.watch import watch


def run(names: list[str], each: float, out: Path, *, limit: float = 20, seed: int = 0, jobs: int = 1) -> list[Record]:
    """Fuzz every reader for `each` CPU seconds, `jobs` of them at a time, and print a line for each as it is done."""
    out.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> Record:
        record = watch(name, each, limit, seed, out / f"{name.replace(' ', '_')}.json")
        print(record.line(), flush=True)
        return record

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, names))


def main() -> None:
    """Fuzz, and exit with 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900, help="CPU time of all readers together")
    parser.add_argument("--each", type=float, help="CPU time of each reader, instead")
    parser.add_argument("--limit", type=float, default=20, help="CPU seconds that a case may take")
    parser.add_argument("--jobs", type=int, default=1, help="readers at a time")
    parser.add_argument("--only", action="append", choices=sorted(READERS), help="a reader; repeat for several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the records")
    parser.add_argument("--corpus", type=Path, help="folder that what was found is added to, such as tests/fuzz/corpus")
    args = parser.parse_args()
    names = args.only or list(READERS)
    each = args.each or args.seconds / len(names)
    with tempfile.TemporaryDirectory() as temporary:
        found = run(names, each, args.out or Path(temporary), limit=args.limit, seed=args.seed, jobs=args.jobs)
    for record in found if args.corpus else ():
        with tempfile.TemporaryDirectory() as temporary:
            print(f"{record.reader}: {add(record, args.corpus, Path(temporary))} inputs are new in the corpus")
    bad = sum(record.bad for record in found)
    print(f"{sum(record.cases for record in found)} cases, {bad} findings")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
