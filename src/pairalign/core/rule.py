"""What the rules of settings share: metadata of a field's type that says what is wrong with a value."""

from __future__ import annotations

from typing import Any


class Rule:
    """A rule says with `fault` how to mend a value; pydantic asks it once it has read the value."""

    def fault(self, value: Any) -> str | None:
        """The fix where `value` does not keep the rule, else `None`."""
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        """Return `value`; raise `ValueError` with the fix where it does not keep the rule."""
        if (fix := self.fault(value)) is not None:
            raise ValueError(fix)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))
