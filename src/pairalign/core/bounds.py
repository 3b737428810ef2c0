"""Ranges of settings: written once as the type of a dataclass field, checked whenever a configuration is built.

`lr: Amount` is a finite number of at least 0. The same check runs where pydantic reads YAML and where Python builds
the dataclass or `dataclasses.replace` changes it.

Note:
    Python and pydantic take `true` for the number 1, and YAML has `.nan` and `.inf`; none of them is a number here.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import sys
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pairalign.core.errors import ConfigError
from pairalign.core.fitting import misfits
from pairalign.core.rule import Rule

LARGEST = 2**63 - 1  # what fits into the int64 of torch and NumPy


@dataclass(frozen=True)
class Within(Rule):
    """Metadata of a field's type: a number from `low` to `high`, which `open` leaves out; `whole` for an integer.

    Anything that is no number (null, "auto") is left to the rest of the type.
    """

    low: float
    high: float = math.inf
    whole: bool = False
    open: bool = False

    def fault(self, value: Any) -> str | None:
        """The fix where `value` is out of bounds, else `None`."""
        if not isinstance(value, (bool, int, float)):
            return None
        inside = self.low < value < self.high if self.open else self.low <= value <= self.high
        finite = self.whole or -sys.float_info.max <= value <= sys.float_info.max
        if isinstance(value, bool) or not inside or not finite or (self.whole and value % 1):
            return f"give {self}{' and below 2^63' if self.whole and value > LARGEST else ''}"
        return None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def check(value: Any, read: Any) -> Any:  # before, as pydantic takes true for 1; after, as it reads "-5"
            return self.check(read(self.check(value)))

        return core_schema.no_info_wrap_validator_function(check, handler(source))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.low <= -LARGEST:
            return kind
        if self.high >= LARGEST:
            return f"{kind} above {self.low:g}" if self.open else f"{kind} of at least {self.low:g}"
        return f"{kind} from {self.low:g} to {self.high:g}{', both excluded' if self.open else ''}"


Count = Annotated[int, Within(1, LARGEST, whole=True)]
"""A whole number of at least 1."""
Several = Annotated[int, Within(2, LARGEST, whole=True)]
"""A whole number of at least 2."""
Whole = Annotated[int, Within(0, LARGEST, whole=True)]
"""A whole number of at least 0."""
WIDEST = 1 << 16
Width = Annotated[int, Within(0, WIDEST, whole=True)]
"""Of a layer, or a number of tokens: beyond that a slip, and a matrix that no machine holds."""
Amount = Annotated[float, Within(0)]
"""A finite number of at least 0."""
Positive = Annotated[float, Within(0, open=True)]
"""A finite number above 0."""
Share = Annotated[float, Within(0, 1)]
"""A part of a whole, 0 to 1."""


class Strict:
    """Base of configurations: refuses unknown keys, and what does not fit a field's type however it is built."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        cls: Any = type(self)
        found = [
            f"{path} is {reprlib.repr(value)}: {fix}"
            for name, hint in _hints(cls).items()
            for path, value, fix in misfits(getattr(self, name), hint, name)
        ]
        if found := found or list(self.conflicts()):
            raise ConfigError(f"{cls.__name__}: " + "; ".join(found) + ".")

    def conflicts(self) -> Iterable[str]:
        """What is wrong between settings that are each within bounds, each with its fix."""
        return ()


@lru_cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, with their rules."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
