"""Two result folders of lmms-eval, before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_eval_log import Scores, write_results


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    def write(base: Scores, after: Scores, **settings: Any) -> tuple[Path, Path]:
        return (
            write_results(tmp_path / "base", "org/model-7b", base, **settings),
            write_results(tmp_path / "merged", "packs/touch/merged", after, **settings),
        )

    return write
