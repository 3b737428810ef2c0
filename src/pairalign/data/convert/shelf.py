"""What a listing has to look up or to sort, on disk: a database in a temporary file, with 2 MiB of it in memory.

Note:
    Values are pickled by this process for itself, in a file without a name that goes when it is closed, and never read
    again.

    A dict of lists takes half the time and 1.1 kB a sample: 9 s and 330 MiB for 300,000 pairs as TVL lists them,
    against 20 s and 4 MiB here (each in a process of its own, three times in turn, one thread). Lists have no bound.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from typing import Any

TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2048; PRAGMA temp_store = FILE;
CREATE TABLE kept (place INTEGER PRIMARY KEY, kind TEXT, key TEXT, value BLOB, UNIQUE (kind, key));
CREATE TABLE filed (place INTEGER PRIMARY KEY, heap TEXT, value BLOB);
CREATE INDEX heaps ON filed (heap);
"""


class Shelf:
    """Values by (kind, key), and heaps of values by name; both keep their order."""

    def __init__(self) -> None:
        self.base = sqlite3.connect("", isolation_level=None)  # "": a temporary file
        self.base.executescript(TABLES)

    def put(self, kind: str, key: str, value: Any) -> None:
        """Keep a value under a key, in the place of an earlier one if there is one."""
        self.base.execute(
            "INSERT INTO kept (kind, key, value) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            (kind, key, pickle.dumps(value)),
        )

    def get(self, kind: str, key: str) -> Any:
        """The value under a key, `None` for none."""
        found = self.base.execute("SELECT value FROM kept WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if found is None else pickle.loads(found[0])

    def values(self, kind: str) -> Iterator[Any]:
        """The values of a kind, by when their keys were first put."""
        rows = self.base.execute("SELECT value FROM kept WHERE kind = ? ORDER BY place", (kind,))
        return (pickle.loads(value) for (value,) in rows)

    def file(self, heap: str, value: Any) -> None:
        """Lay a value on a heap."""
        self.base.execute("INSERT INTO filed (heap, value) VALUES (?, ?)", (heap, pickle.dumps(value)))

    def heaps(self) -> Iterator[tuple[str, int]]:
        """Name and number of values of each heap, in the order in which they were begun."""
        rows = self.base.execute("SELECT heap, COUNT(*) FROM filed GROUP BY heap ORDER BY MIN(place)")
        yield from rows

    def filed(self, heap: str) -> Iterator[Any]:
        """The values of a heap, in the order in which they were laid on it."""
        rows = self.base.execute("SELECT value FROM filed WHERE heap = ? ORDER BY place", (heap,))
        return (pickle.loads(value) for (value,) in rows)

    def nth(self, heap: str, number: int) -> Any:
        """One value of a heap, counted from 0."""
        rows = self.base.execute(
            "SELECT value FROM filed WHERE heap = ? ORDER BY place LIMIT 1 OFFSET ?", (heap, number)
        )
        return pickle.loads(rows.fetchone()[0])

    def close(self) -> None:
        """Give the space on disk back."""
        self.base.close()
