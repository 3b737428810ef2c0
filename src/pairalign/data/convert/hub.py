"""A local data set of the Hugging Face package `datasets`: written by `save_to_disk`, parquet, or an image folder.

    dataset_dict.json  <split>/{state.json,dataset_info.json,*.arrow}         save_to_disk, or one split alone
    data/<split>-00000-of-00001.parquet                                       as data sets are stored on the hub
    <split>/metadata.jsonl  <split>/*.jpg   or   <split>/<class>/*.jpg         an image folder

`columns` says which column is which modality: "image=image,touch=tactile,text=caption". Images, sounds and binary cells
are written byte for byte; strings and class labels are text; numbers and lists of them are arrays.

Note:
    Only row numbers are listed; a cell is read by the process that writes it, so that a broken cell is reported under
    its modality. Without `group`, "by_group" takes each row for a group of its own. A column of strings that name files
    is text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.convert.dataset_format import Listing, Skip, register_format
from pairalign.data.convert.hub_rows import is_readable, open_splits, read_cell, state_of
from pairalign.data.made import Made
from pairalign.data.rows import key_digest


@register_format(
    "hub",
    title="a local folder of the Hugging Face package datasets",
    source="a local folder of the package datasets",
    licence="as the data set's own card says",
    marks=(
        "dataset_dict.json|dataset_info.json|*/dataset_info.json|*.parquet|data/*.parquet|*/*.parquet|metadata.jsonl|"
        "metadata.csv|*/metadata.jsonl|*/metadata.csv|train/*/*.jpg|train/*/*.png",
    ),
    split_set="by_group",
)
def read(folder: Path, skip: Skip, *, columns: str = "", key: str = "", group: str = "", label: str = "") -> Listing:
    """Rows of every split. columns: "modality=column,…". key, group, label: the columns of these; a key may not come
    twice, and without one it is the split and the number of the row.
    """
    folder = folder.absolute()
    state = state_of(folder)
    splits = open_splits(folder, state)
    features = next(iter(splits.values())).features if splits else {}
    chosen = _chosen(columns, features)
    roles = {"key": key, "group": group, "label": label}
    roles = {role: _known(column, features, f"option {role}") for role, column in roles.items() if column}
    seen: set[int] = set()
    for split, data in splits.items():
        for column in (*chosen.values(), *roles.values()):
            _known(column, data.features, f"split {split!r}")
        for row, cells in enumerate(_cells(data, roles)):
            name = str(cells.pop("key", f"{split}/{row:08d}"))
            digest = key_digest(name)
            if digest in seen:
                skip(name, f"duplicate key: row {row} of {split} has that of an earlier one")
                continue
            seen.add(digest)
            values = {
                modality: Made(read_cell, (folder, state, split, row, column)) for modality, column in chosen.items()
            }
            yield {"key": name, "split": split, **values, **cells}


def _chosen(columns: str, features: Any) -> dict[str, str]:
    """Column by modality."""
    readable = [name for name, feature in features.items() if is_readable(feature)]
    if not columns:
        example = ",".join(f"{name}={name}" for name in readable[:2])
        raise DataError(
            f"option columns is needed: say which column is which modality, such as columns={example!r}. "
            f"The data set has {', '.join(readable) or 'none that can be read'}."
        )
    found: dict[str, str] = {}
    for part in columns.split(","):
        modality, sign, column = (piece.strip() for piece in part.partition("="))
        if not sign or not modality or not column or modality in found:
            raise DataError(f"option columns={columns!r}: {part!r} is no modality=column, or its modality comes twice.")
        if not is_readable(features[_known(column, features, "option columns")]):
            raise DataError(f"option columns: {column!r} is {features[column]}: give {', '.join(readable) or 'none'}.")
        found[modality] = column
    return found


def _known(column: str, features: Any, what: str) -> str:
    """The column itself, if there is one of that name."""
    if column not in features:
        raise DataError(f"{what}: there is no column {column!r}.{did_you_mean(column, features)}")
    return column


def _cells(data: Any, roles: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Cells by role, of every row in order; a class label by its name."""
    if not roles:
        yield from ({} for _ in range(len(data)))
        return
    for batch in data.select_columns(sorted(set(roles.values()))).iter(1000):
        for place in range(len(batch[next(iter(roles.values()))])):
            row = {role: _plain(batch[column][place], data.features[column]) for role, column in roles.items()}
            yield {role: cell for role, cell in row.items() if cell is not None}


def _plain(value: Any, feature: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return feature.int2str(value) if value is not None and hasattr(feature, "int2str") else value
    raise DataError(f"a column of {feature} is no key, group or label: give one of texts or numbers.")
