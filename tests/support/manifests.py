"""A folder of empty files that a manifest may name, and manifests written into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOOD = {"key": "k", "image": "a.jpg", "text": "t"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "bg.jpg", "f.npy", "deep/c.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    return tmp_path / "data"


def write(folder: Path, *rows: dict[str, Any] | str, name: str = "m.jsonl") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name
