"""Fields of questions and answers that hold several texts of one sample, such as five captions of one picture.

Training draws one of them a pass, by (seed, pass, sample); measuring takes the first.

Note:
    One place is drawn a sample and taken in each of its lists, so that questions and answers that are listed in one
    order stay together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pairalign.core.caption import unwritable
from pairalign.core.errors import DataError
from pairalign.data.captions import several_texts
from pairalign.data.kinds import main_value
from pairalign.sensors.processor import RESERVED
from pairalign.sensors.reserved import spelt_in


def all_texts(value: Any, where: str) -> list[str]:
    """What a stored field says: one text, or each of a list; raise `DataError` for what is no text."""
    found = several_texts(value)
    values = found if found is not None else value if isinstance(value, list) else [main_value(value)]
    if not values or not all(isinstance(one, (str, int, float)) for one in values):
        kind = "an empty list" if value == [] else f"a {type(value).__name__} and no text"
        raise DataError(f"{where} holds {kind}: store a text, or a list of texts.")
    return [str(one) for one in values]


def unfit(text: str, reserved: Collection[str]) -> str | None:
    """Why a text can be neither asked nor taught, `None` if it can: it spells a reserved word, or half a character."""
    if (word := spelt_in(text, reserved)) is not None:
        return f"spells {word!r}, {RESERVED}"
    reason = unwritable(text)
    return None if reason is None else f"cannot be written: {reason}"
