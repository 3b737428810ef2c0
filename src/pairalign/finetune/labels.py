"""`{label}` in a task's prompt or answer: the word that a sample was packed with, which is no stored field.

Note:
    A label may also be a dict of factors, or be missing; neither is a word to ask for or to teach.
"""

from __future__ import annotations

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.index import ShardIndex
from pairalign.data.reader import RawSample
from pairalign.sensors.prompt import FIELD

LABEL = "label"  # no modality can be called so


def stored_fields(text: str) -> list[str]:
    """The fields in braces that a shard stores: all but the label."""
    return [field for field in FIELD.findall(text) if field != LABEL]


def check_labels(index: ShardIndex, where: str) -> None:
    """Raise `ConfigError` for shards without labels, or with several factors in each."""
    if not index.labels:
        raise ConfigError(
            f"{where} holds no labels: pack with a column label (--column label=COLUMN), or name a field."
        )
    if all("=" in label for label in index.labels):
        factors = ", ".join(sorted({label.partition("=")[0] for label in index.labels}))
        raise ConfigError(
            f"{where} has labels of factors ({factors}), and no single word: pack the one to ask for as a text field, "
            "and name that field."
        )


def label_of(sample: RawSample, where: str) -> str:
    """The label of one sample; raise `DataError` where it is no word."""
    label = sample.meta.get(LABEL)
    if not isinstance(label, (str, int, float)) or isinstance(label, bool) or not str(label).strip():
        raise DataError(f"{where}, sample {sample.key!r}: its label is {label!r}, and no word.")
    return str(label)
