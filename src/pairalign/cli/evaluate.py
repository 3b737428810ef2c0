"""`pairalign evaluate RUN --pairs SHARDS`: measure a run, print tables, write metrics.json and report.html.

With `--protocol NAME` one published protocol instead, to `RUN/evaluation/NAME.json`.
"""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.completion import offer
from pairalign.cli.device import read_device
from pairalign.cli.settings import read_settings
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import ConfigError
from pairalign.evaluate.protocols.registry import MODULES


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign evaluate run --pairs shards --split test",
        "pairalign evaluate run --pairs shards --class steel --class felt --json > metrics.json",
        "pairalign evaluate run --pairs shards --protocol tvl --device cuda:0 --quiet",
    )
    parser = add_verb(verbs, "evaluate", "measure an aligned run on held-out pairs", examples=examples)
    parser.add_argument("run_folder", metavar="RUN", help="folder that `pairalign align` wrote")
    parser.add_argument("--pairs", action="append", required=True, help="shard folder with two or more modalities")
    parser.add_argument("--split", action="append", help="split of the pairs, repeatable; default: test")
    parser.add_argument("--out", help="where to write; default: RUN/evaluation")
    parser.add_argument("--class", dest="classes", action="append", help="class name for zero-shot, repeatable")
    parser.add_argument("--template", dest="templates", action="append", help="prompt with {}, repeatable")
    parser.add_argument("--known", action="append", help="class name of training, to place new ones by; repeatable")
    parser.add_argument("--same-group", action="store_true", help="also retrieve among the same object or session only")
    parser.add_argument("--limit", type=int, help="most samples of each pool")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and probe splits")
    parser.add_argument("--probe-split", metavar="SPLIT", help="train linear probes on it; default: the run's own")
    protocol = f"a published protocol instead: {', '.join(MODULES)}"
    offer(parser.add_argument("--protocol", metavar="NAME", help=protocol), lambda: MODULES)
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="setting of the protocol, repeatable")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.protocol is not None:
        return _protocol(args)
    if args.set:
        raise ConfigError(f"--set {args.set[0]!r}: is a setting of a protocol: name one with --protocol.")
    from pairalign.evaluate.run import evaluate_run

    found = evaluate_run(
        run_folder(args),
        args.pairs,
        split=args.split or "test",
        out=args.out,
        classes=args.classes,
        templates=args.templates,
        known=args.known,
        same_group=args.same_group,
        limit=args.limit,
        seed=args.seed,
        probe_split=args.probe_split,
        device=read_device(args),
        progress=not args.quiet,
    )
    metrics = found.report.with_name("metrics.json")
    record = {**found.metrics, "files": {"report": found.report, "metrics": metrics}}
    answer(args, record, found.table, f"report: {found.report}\nmetrics: {metrics}")
    return 0


def run_folder(args: argparse.Namespace) -> Any:
    """The folder, or, with plugins named for it, the run loaded with these."""
    from pairalign.align.run import load_aligned

    return load_aligned(args.run_folder, plugins=args.plugin) if args.plugin else args.run_folder


def _protocol(args: argparse.Namespace) -> int:
    """Measure by one published protocol."""
    from pairalign.evaluate.protocols.run import evaluate_protocol

    fixed = {"--class": args.classes, "--template": args.templates, "--known": args.known}
    fixed |= {"--probe-split": args.probe_split}
    for option, value in (fixed | {"--same-group": args.same_group}).items():
        if value:
            raise ConfigError(f"{option} does not go with --protocol, which fixes what is measured: use --set.")
    if len(args.pairs) > 1 or len(args.split or ()) > 1:
        raise ConfigError(
            "--protocol measures one shard folder, and one split or its own: give one --pairs, one --split."
        )
    settings: dict[str, Any] = {"split": args.split[0]} if args.split else {}
    settings |= read_settings(args.set or (), "--set")
    found = evaluate_protocol(
        run_folder(args),
        args.pairs[0],
        args.protocol,
        settings=settings,
        out=args.out,
        limit=args.limit,
        seed=args.seed,
        device=read_device(args),
        progress=not args.quiet,
    )
    record = {**found.to_dict(), "files": {"result": found.path}}
    answer(args, record, f"{found.table}\nresult: {found.path}")
    return 0
