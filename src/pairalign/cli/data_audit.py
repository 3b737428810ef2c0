"""`pairalign data audit SHARDS`: find what would make a score a lie; exit 1 where something is found."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb
from pairalign.core.exits import DONE, FOUND

SEVERITIES = ("note", "warning", "error")


def register(subverbs: Any) -> None:
    """Add the subverb."""
    examples = (
        "pairalign data audit shards --out audit.json",
        "pairalign data audit train_shards test_shards --fail-on error --check leak --quiet",
    )
    text = "find duplicates, swaps, blanks and leaks; exit code for CI"
    parser = add_verb(subverbs, "data audit", text, examples=examples)
    shards = "folders that `pairalign data pack` wrote; several are also compared with each other"
    parser.add_argument("folders", metavar="SHARDS", nargs="+", help=shards)
    parser.add_argument("--out", help="JSON file for all findings with their keys")
    parser.add_argument("--fail-on", choices=SEVERITIES, default="warning", help="least severity for exit code 1")
    parser.add_argument("--check", action="append", help="run only this check, repeatable")
    parser.add_argument("--limit", type=int, help="most samples of each split")
    parser.add_argument("--seed", type=int, default=0, help="of the probes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if one is at least as severe as --fail-on."""
    from pairalign.data.audit import audit_pairs, audit_several
    from pairalign.files import write_json

    options: dict[str, Any] = {"checks": args.check, "limit": args.limit, "seed": args.seed, "progress": not args.quiet}
    several = len(args.folders) > 1
    audits = audit_several(args.folders, **options) if several else [audit_pairs(args.folders[0], **options)]
    if args.out and several:
        write_json(args.out, [asdict(audit) for audit in audits])
    elif args.out:
        audits[0].write(args.out)
    answer(args, audits if several else audits[0], "\n\n".join(audit.text() for audit in audits))
    found = [finding for audit in audits for finding in audit.findings]
    worst = max((SEVERITIES.index(finding.severity) for finding in found), default=-1)
    return FOUND if worst >= SEVERITIES.index(args.fail_on) else DONE
