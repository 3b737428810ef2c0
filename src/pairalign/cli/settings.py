"""`NAME=VALUE` on the command line: settings of whatever a verb builds, their values read as YAML."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from typing import Any

from pairalign.core.errors import ConfigError


def load_plugins(args: argparse.Namespace) -> None:
    """Import what `--plugin` names, for verbs that read no configuration or run, which load their own."""
    from pairalign.core.registry import load_plugin

    for plugin in args.plugin:
        load_plugin(plugin)


def read_settings(
    texts: Iterable[str], what: str, form: str = "NAME=VALUE", plain: Collection[str] = ()
) -> dict[str, Any]:
    """Value by name; raise `ConfigError` for a text of another form, or a value that is no YAML.

    what: how an error calls a text, such as "--option". plain: names whose values stay text.
    """
    from pairalign.core.notation import parse_yaml

    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"{what} {text!r}: write it as {form}.")
        try:
            found[name] = value if name in plain else parse_yaml(value)
        except ValueError as error:
            raise ConfigError(
                f"{what} {text!r}: {value!r} is no YAML value ({error}): close its brackets, or quote it."
            ) from error
    return found
