"""`pairalign demo`: both stages on the built-in synthetic world, with reports at the end."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pairalign.cli.align import read_plugins
from pairalign.cli.answer import answer
from pairalign.cli.completion import offer, settings
from pairalign.cli.device import read_device
from pairalign.cli.verbs import add_verb


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = ("pairalign demo", "pairalign demo --fast --out tour", "pairalign demo train.lr=1e-3 --seed 1")
    text = "everything on a built-in synthetic world, in about seven minutes"
    parser = add_verb(verbs, "demo", text, examples=examples)
    overrides = parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="override settings of demo.yaml"
    )
    offer(overrides, settings("align"))
    parser.add_argument("--out", default="demo", help="folder for data, run and report; default: demo")
    parser.add_argument("--fast", action="store_true", help="a minute's tour: too short to reach good scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that render the world")
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
        overrides=(*args.overrides, *([f"plugins={json.dumps(read_plugins(args))}"] if args.plugin else [])),
        device=args.device,
        progress=not args.quiet,
        workers=args.workers,
    )
    short = {**figures(found.evaluation), **lesson_figures(found.lessons)}
    report = found.evaluation.report
    files = {"report": report, "stage_two": found.page, "metrics": report.with_name("metrics.json")}
    answer(
        args,
        {"figures": short, "evaluation": found.evaluation.metrics, **files},
        found.evaluation.table,
        "\nin short (synthetic data)",
        *(
            f"  {name:<60}{value:6.3f}" if "stage two" not in name else f"  {name:<60}{value:+6.1f} points"
            for name, value in short.items()
        ),
        f"\nreport: {report}\nstage two: {found.page}\nmetrics: {files['metrics']}",
        f'next: pairalign ask {args.out}/pack --touch {args.out}/touch.png "how hard is it?"',
    )
    return 0
