"""`pairalign data audit SHARDS`: find what would make a score a lie; exit 1 where something is found."""

from __future__ import annotations

import argparse
from typing import Any

SEVERITIES = ("note", "warning", "error")


def register(subverbs: Any) -> None:
    """Add the subverb."""
    parser = subverbs.add_parser("audit", help="find duplicates, swaps, blanks and leaks; exit code for CI")
    parser.add_argument("folder", metavar="SHARDS", help="folder that `pairalign data pack` wrote")
    parser.add_argument("--out", help="JSON file for all findings with their keys")
    parser.add_argument("--fail-on", choices=SEVERITIES, default="warning", help="least severity for exit code 1")
    parser.add_argument("--check", action="append", help="run only this check, repeatable")
    parser.add_argument("--limit", type=int, help="most samples of each split")
    parser.add_argument("--seed", type=int, default=0, help="of the probes")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if one is at least as severe as --fail-on."""
    from pairalign.data.audit import audit_pairs

    audit = audit_pairs(args.folder, checks=args.check, limit=args.limit, seed=args.seed, progress=not args.quiet)
    if args.out:
        audit.write(args.out)
    print(audit.text())
    worst = max((SEVERITIES.index(finding.severity) for finding in audit.findings), default=-1)
    return 1 if worst >= SEVERITIES.index(args.fail_on) else 0
