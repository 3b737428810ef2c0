"""`python -m pairalign.evaluate.abilities commands|compare`: run lmms-eval before and after, and read what it says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pairalign.core.errors import PairalignError


def build_parser() -> argparse.ArgumentParser:
    """Two verbs."""
    parser = argparse.ArgumentParser(prog="python -m pairalign.evaluate.abilities", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    show = verbs.add_parser("commands", help="print the command lines of lmms-eval")
    show.add_argument("base", help="hub name or folder of the base")
    show.add_argument("merged", help="folder of the merged checkpoint, or of a finished run of any method")
    show.add_argument("--model", required=True, help="lmms-eval's family, such as llava_hf or qwen2_5_vl")
    show.add_argument("--model-args", default="", metavar="NAME=VALUE,…", help="further model arguments for both")
    show.add_argument("--out", default="abilities", help="folder of the results (abilities)")
    show.add_argument("--batch-size", type=int, default=1)
    show.add_argument("--limit", type=int, metavar="N", help="samples of each task")
    show.set_defaults(run=_commands)
    read = verbs.add_parser("compare", help="compare two result folders")
    read.add_argument("base", help="--output_path of the base")
    read.add_argument("after", help="--output_path of the merged checkpoint or run")
    read.add_argument("--out", default="abilities.json", help="file to write (abilities.json)")
    read.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    read.set_defaults(run=_compare)
    for verb in (show, read):
        verb.add_argument("--tasks", action="append", default=[], help="paper or task, repeatable; default: all")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 for success, 2 for a deliberate error."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except PairalignError as error:
        print(f"pairalign: {error}", file=sys.stderr)
        return error.exit_code


def _commands(args: argparse.Namespace) -> None:
    from pairalign.evaluate.abilities.commands import chosen_tasks, command_lines
    from pairalign.evaluate.abilities.suites import ABILITIES

    settings = {"tasks": args.tasks, "batch_size": args.batch_size, "limit": args.limit, "arguments": args.model_args}
    for line in command_lines(args.base, args.merged, args.model, args.out, **settings):
        print(line)
    for task in chosen_tasks(args.tasks):
        if ABILITIES[task].needs:
            print(f"# {task} needs {ABILITIES[task].needs}")


def _compare(args: argparse.Namespace) -> None:
    from pairalign.evaluate.abilities.commands import chosen_tasks
    from pairalign.evaluate.abilities.compare import compare_results, disagreements
    from pairalign.evaluate.report import write_metrics

    tasks = chosen_tasks(args.tasks) if args.tasks else ()
    found = compare_results(args.base, args.after, tasks=tasks, seed=args.seed)
    notes = disagreements(found.tasks)
    path = write_metrics(args.out, found.to_dict() | {"notes": notes})
    print("\n".join([found.table, *notes, f"metrics: {path}"]))


if __name__ == "__main__":
    sys.exit(main())
