"""Runs that share a folder of scores: whoever comes first makes them, and the others wait for the file."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mllms import FAMILIES

from pairalign.dormant import cache
from pairalign.dormant.linears import find_linears


def test_two_runs_that_begin_together_score_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FAMILIES["llava"].model()
    linears, both, calls = find_linears(model), threading.Barrier(2), list[str]()
    score, place = cache.score_model, cache.score_path

    def slow(name: str, *args: Any, **options: Any) -> Any:
        calls.append(name)
        time.sleep(0.3)
        return score(name, *args, **options)

    def together(*args: Any, **options: Any) -> Path:
        found = place(*args, **options)
        both.wait()  # neither has looked for the file yet
        return found

    monkeypatch.setattr(cache, "score_model", slow)
    monkeypatch.setattr(cache, "score_path", together)
    with ThreadPoolExecutor(2) as runs:
        one, other = runs.map(lambda _: cache.cached_scores(tmp_path / "scores", "magnitude", model, linears), range(2))
    assert calls == ["magnitude"]
    for name in linears:
        assert torch.equal(*(found.of(linears)[name] for found in (one, other)))  # type: ignore[attr-defined]
    assert len(list((tmp_path / "scores").iterdir())) == 1
