"""`pairalign demo`: both stages on the built-in synthetic world, with reports at the end."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.device import add_device_argument, read_device


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("demo", help="everything on a built-in synthetic world, in about seven minutes")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="override settings of demo.yaml")
    parser.add_argument("--out", default="demo", help="folder for data, run and report; default: demo")
    parser.add_argument("--fast", action="store_true", help="a minute's tour: too short to reach good scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that render the world")
    add_device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it and print where to look."""
    from pairalign.demo.run import FAST, figures, run_demo
    from pairalign.demo.stage_two import lesson_figures

    if args.device is not None:
        read_device(args)
    found = run_demo(
        args.out,
        size=FAST if args.fast else None,
        seed=args.seed,
        overrides=tuple(args.overrides),
        device=args.device,
        progress=not args.quiet,
        workers=args.workers,
    )
    print(found.evaluation.table)
    print("\nin short (synthetic data)")
    for name, value in {**figures(found.evaluation), **lesson_figures(found.lessons)}.items():
        print(f"  {name:<60}{value:6.3f}" if "stage two" not in name else f"  {name:<60}{value:+6.1f} points")
    report = found.evaluation.report
    print(f"\nreport: {report}\nstage two: {found.page}\nmetrics: {report.with_name('metrics.json')}")
    print(f'next: pairalign ask {args.out}/pack --touch {args.out}/touch.png "how hard is it?"')
    return 0
