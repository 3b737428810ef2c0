"""Pages of the reference: every public name where it is written, grouped by the package that it lives in.

The names come from `pairalign.__init__`, which loads them on first use; mkdocstrings reads their source and imports
nothing. A name of a package that no group has goes to the last page, so that none is ever left out.
"""

from __future__ import annotations

import pairalign

GROUPS = {
    "encoders": ("Encoders and signals", ("core.encoder", "core.types", "core.registry")),
    "align": ("Stage one", ("align", "core.config", "data.graph")),
    "data": ("Data", ("data",)),
    "evaluate": ("Measuring and drawing", ("evaluate", "translation")),
    "dormant": ("Dormant weights", ("dormant",)),
    "recompose": ("Stage two", ("finetune", "sensors")),
    "packs": ("Sensor packs and the Hub", ("export", "hub")),
    "others": ("Errors and others", ()),
}
PAGES = {f"api/{name}.md": name for name in GROUPS}
_OPTIONS = """\
    options:
      heading: pairalign.{name}
      heading_level: 2
"""


def group_of(name: str) -> str:
    """The page of a public name: of the longest part of its home that a group has."""
    home = pairalign._HOME[name].removeprefix("pairalign.")
    fitting = [
        (len(part), group)
        for group, (_, parts) in GROUPS.items()
        for part in parts
        if f"{home}.".startswith(f"{part}.")
    ]
    return max(fitting)[1] if fitting else "others"


def page(group: str) -> str:
    """The page of one group: its names in one line, and each with its docstring."""
    names = sorted(
        (name for name in pairalign._HOME if group_of(name) == group), key=lambda name: (name[0].islower(), name)
    )
    shown = " · ".join(f"[`{name}`](#{pairalign._HOME[name]}.{name})" for name in names)
    parts = [f"::: {pairalign._HOME[name]}.{name}\n" + _OPTIONS.format(name=name) for name in names]
    return "\n\n".join([f"# {GROUPS[group][0]}", shown, *parts])
