"""Published CSV tables: columns by name, cells as long as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairalign.core.errors import DataError
from pairalign.data.convert.objaverse import _captions
from pairalign.data.convert.table import read_table
from pairalign.data.convert.tacquad import _items


def never(where: str, reason: str) -> None:
    raise AssertionError(f"{where}: {reason}")


def test_cells_may_be_longer_than_python_allows_by_itself(tmp_path: Path) -> None:
    long = "soft " * 40_000
    (tmp_path / "t.csv").write_text(f"Name ,caption\na,{long}\n")
    assert [cells["caption"] for cells in read_table(tmp_path / "t.csv", ["caption"], never)] == [long.strip()]
    (tmp_path / "o.csv").write_text(f"uid,{long}\n")
    assert _captions(tmp_path / "o.csv", never) == {"uid": long.strip()}
    (tmp_path / "q.csv").write_text(f"cloth,0,9,0,9,0,9,{long}\n")
    assert [item.caption for item in _items(tmp_path / "q.csv")] == [long.strip()]


def test_a_column_that_is_there_twice_or_not_at_all_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,text\na,b\n")
    with pytest.raises(DataError, match="two columns 'text'"):
        list(read_table(tmp_path / "t.csv", ["text"], never))
    with pytest.raises(DataError, match="no column 'name'"):
        list(read_table(tmp_path / "t.csv", ["name"], never))
