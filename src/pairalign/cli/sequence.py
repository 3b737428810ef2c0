"""`pairalign sequence config.yaml [section.key=value …]`: teach skills one after the other; tell what becomes of each.

Note:
    The same command goes on after a kill, and stages that have finished are not made again; settings that change a
    stage need another `out`, or --fresh.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pairalign.cli.align import read_plugins
from pairalign.cli.answer import answer
from pairalign.cli.completion import offer, settings
from pairalign.cli.device import add_trust_argument, read_device
from pairalign.cli.verbs import add_verb
from pairalign.core.config import load_config
from pairalign.core.exits import DONE, NOTHING_LEARNED

if TYPE_CHECKING:
    from pairalign.finetune.sequence.config import SequenceConfig

_EXIT = """exit codes: 0; 4, in some stage nothing within max_forgetting was learned, and the next began where it had;
2, something does not fit."""


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign sequence skills.yaml --dry-run",
        "pairalign sequence skills.yaml defaults.train.steps=300 --device cuda:0",
    )
    text = "stage two, skill after skill: learning, forgetting, recovery"
    parser = add_verb(verbs, "sequence", text, examples=examples, epilog=_EXIT)
    parser.add_argument("config", help="YAML file of a SequenceConfig")
    overrides = parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="override settings of the file"
    )
    offer(overrides, settings("sequence"))
    parser.add_argument("--dry-run", action="store_true", help="list stages and what they would take; no more")
    parser.add_argument("--fresh", action="store_true", help="set aside every stage as OUT.old-N, and start over")
    add_trust_argument(parser)
    parser.set_defaults(run=run)


def read_sequence(args: argparse.Namespace) -> SequenceConfig:
    """The configuration, with what the command line says of every stage."""
    from pairalign.finetune.sequence.config import SequenceConfig

    settings = [f"defaults.train.accelerator={args.device}"] if args.device is not None else []
    if args.trust_remote_code:
        settings.append("defaults.trust_remote_code=true")
    if args.plugin:
        settings.append(f"defaults.plugins={json.dumps(read_plugins(args))}")
    return load_config(SequenceConfig, args.config, [*args.overrides, *settings])


def run(args: argparse.Namespace) -> int:
    """Teach, then print the table."""
    config = read_sequence(args)
    from pairalign.finetune.sequence.run import plan_sequence, teach_sequence
    from pairalign.finetune.sequence.stages import stages_of

    read_device(args, stages_of(config)[0].config.train.accelerator)
    if args.dry_run:
        plan = plan_sequence(config)
        answer(args, plan.record(), str(plan))
        return DONE
    from pairalign.evaluate.report import text_table
    from pairalign.finetune.sequence.report import arm_table, bias_table
    from pairalign.processes.launch import current

    done = teach_sequence(config, progress=not args.quiet, fresh=args.fresh)
    kept = [stage["kept"]["learned"] for run in done.results["runs"] for stage in run["stages"]]
    code = DONE if all(kept) else NOTHING_LEARNED
    if not current().main:
        return code
    tables = (text_table(*arm_table(done.results)), text_table(*bias_table(done.results)))
    answer(args, {"run": done.folder, **done.results}, "\n\n".join(tables), f"\nreport: {done.report}")
    return code
