"""Texts and names of settings: one form each, written once as the type of a field and checked however it is built.

`Text` is one line that says something: an address, a word that something else looks up. A `Folder` is a path, or an
address where one may stand. A `Label` is what figures are listed under: a task, a data set. A `Name` is what a prompt,
a module and a file are called by: a sensor, a modality.

Note:
    A sensor becomes `<|name|>` in prompts, `{name}` in questions, `--name` on the command line and an attribute of a
    module, which has some of its own; none of them may be met by chance.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pairalign.core.rule import Rule

_ATTRIBUTES = """
    T_destination add_module apply bfloat16 bool buffers call_super_init children clear compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu
    items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
    pop register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty
    train training type update values xpu zero_grad
"""
TAKEN = frozenset(_ATTRIBUTES.split())
"""What torch's modules call something of their own."""


def names_module(name: str) -> bool:
    """Whether a part of a torch module may be called so."""
    return bool(name) and name.isprintable() and "." not in name and name not in TAKEN and not name.startswith("_")


def names_files(path: str) -> bool:
    """Whether a file system could have a path; an address, whose parts may be longer, is taken as it is."""
    try:
        parts = [part.encode() for part in path.split("/")]
    except UnicodeEncodeError:  # half a character
        return False
    address = "://" in path or path.startswith("pipe:")
    return "\0" not in path and (address or max(map(len, parts)) <= OF_A_FILE)


PLAIN = {"name": r"\w+", "sensor": r"[\w-]+"}
PARTS = ("image", "text", "video", "audio")  # of every message
LONGEST = {"text": 4096, "folder": 4096, "prompt": 2**20, "label": 128, "name": 64, "sensor": 64}  # characters
OF_A_FILE = 255  # bytes, the longest that file systems take


@dataclass(frozen=True)
class Written(Rule):
    """Metadata of a field's type: text of a form. What is no text is left to the rest of the type."""

    form: Literal["text", "folder", "prompt", "label", "name", "sensor"] = "text"

    def fault(self, value: Any) -> str | None:
        """The fix where `value` is not written so, else `None`."""
        if not isinstance(value, str):
            return None
        if not value.strip():
            return "give words, or leave it out"
        if len(value) > LONGEST[self.form]:
            return f"give at most {LONGEST[self.form]} characters, these are {len(value)}"
        if "\0" in value or (self.form != "prompt" and any(end in value for end in "\r\n")):
            return "give one line"
        if self.form == "folder" and not names_files(value):
            return f"give names of files and folders that can be, each of at most {OF_A_FILE} bytes"
        if self.form == "label" and (value != value.strip() or not value.isprintable() or "/" in value):
            return "give words without '/' and without blanks around them"
        if self.form not in PLAIN:
            return None
        if not re.fullmatch(PLAIN[self.form], value) or value.startswith(("_", "-")):
            return f"give letters, digits and underscores{' or -' * (self.form == 'sensor')}, a letter or digit first"
        if value in TAKEN or (self.form == "sensor" and value in PARTS):
            return "give another name, this one is taken for something else"
        return None

    def __str__(self) -> str:
        told = {"folder": "a path", "label": "a name", "name": "a plain name", "sensor": "a plain name"}
        return told.get(self.form, "text")


@dataclass(frozen=True)
class Plain(Rule):
    """Metadata of a field's type: what YAML and JSON both write, so that a run's settings can be kept and compared."""

    def fault(self, value: Any) -> str | None:
        """The fix where `value` holds something else, else `None`."""
        try:
            return None if _is_plain(value) else f"give {self}"
        except RecursionError:
            return "give a value that does not hold itself"

    def __str__(self) -> str:
        return "text, finite numbers, true, false, null, and lists and mappings of these; a date in quotes"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(one) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


Text = Annotated[str, Written()]
"""One line that is not empty."""
FOLDER = Written("folder")
Folder = Annotated[str, FOLDER]
"""A path of a file or folder, or an address, in one line."""
Prompt = Annotated[str, Written("prompt")]
"""Text of any number of lines that is not empty."""
Label = Annotated[str, Written("label")]
"""What figures are listed under: printable, without "/"."""
Name = Annotated[str, Written("name")]
"""Of a modality: letters, digits and underscores, and nothing that torch's modules have already."""
SENSOR = Written("sensor")
SensorName = Annotated[str, SENSOR]
"""Of a sensor: likewise, "-" too, and no part of every message, as "image" is."""
Options = dict[Text, Annotated[Any, Plain()]]
"""Keyword arguments of what is built, which checks their values."""


@dataclass(frozen=True)
class Single(Rule):
    """Metadata of a field's type: a mapping has one key, the name of what its value is the options of."""

    def fault(self, value: Any) -> str | None:
        """The fix where a mapping has none or several, else `None`."""
        return "give one name with its options" if isinstance(value, dict) and len(value) != 1 else None

    def __str__(self) -> str:
        return "a name, or {name: {option: value}}"


Extensions = tuple[Annotated[Text | dict[Text, Options], Single()], ...]
"""What is made by name: each a name, or a mapping of it to its options."""
