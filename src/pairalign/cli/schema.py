"""`pairalign schema align|recompose|sequence`: what an editor needs to complete and check a configuration."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb

_ABOUT = """Print the JSON Schema of a configuration. An editor reads it where the YAML file names it in a comment:

  # yaml-language-server: $schema=schemas/align.json"""


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = ("pairalign schema align > schemas/align.json", "pairalign schema recompose")
    text = "print the JSON Schema of a configuration, for editors"
    parser = add_verb(verbs, "schema", text, examples=examples, description=_ABOUT)
    parser.add_argument("kind", choices=("align", "recompose", "sequence"), help="of the verb that reads it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from pairalign.finetune.sequence.schema import config_schema

    found = config_schema(args.kind)
    answer(args, found, json.dumps(found, indent=2))
    return 0
