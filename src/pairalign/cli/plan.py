"""`pairalign plan config.yaml`: draw the pair graph, check one batch of everything, estimate memory and time."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pairalign.cli.align import add_config_arguments, read_config


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("plan", help="check a run and estimate its cost, training nothing")
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    config = read_config(args)
    from pairalign.align.plan import plan_run

    plan = plan_run(config)
    print(json.dumps(plan.record(), indent=2) if args.json else plan.text())
    return 0
