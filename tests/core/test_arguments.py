"""Arguments of Python functions are checked by their annotations, before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

import pairalign as pa
from pairalign.core.arguments import checked
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import ConfigError, DataError, PairalignError
from pairalign.data.audit import audit_pairs
from pairalign.data.convert.run import convert_data
from pairalign.data.inspect import inspect_pairs
from pairalign.data.pack import pack_pairs
from pairalign.demo.run import run_demo
from pairalign.evaluate.protocols.run import evaluate_protocol
from pairalign.evaluate.run import evaluate_run
from pairalign.finetune.describe import Decoding
from pairalign.finetune.recipe_plan import plan_recipe

NOT_WHOLE = [-1, 0.5, True, "3", float("nan"), 10**30]
CALLS: list[tuple[Any, tuple[Any, ...], dict[str, bool]]] = [  # and whether 0 is right
    (pack_pairs, ("none.jsonl", "out"), {"shard_samples": False, "workers": False, "seed": True}),
    (convert_data, ("tvl", "none", "out"), {"limit": False, "workers": False, "resize": False, "seed": True}),
    (inspect_pairs, ("none",), {"samples": False, "seed": True}),
    (audit_pairs, ("none",), {"limit": False, "seed": True}),
    (evaluate_run, ("none", "none"), {"limit": False, "seed": True}),
    (evaluate_protocol, ("none", "none", "tvl"), {"limit": False, "seed": True}),
    (run_demo, ("out",), {"workers": False, "seed": True}),
    (pa.answer, (None, None, "why?"), {"tokens": False}),
    (plan_recipe, (None, "none"), {"tokens": False}),
    (Decoding, (), {"tokens": False, "batch_size": False, "seed": True}),
]


@pytest.mark.parametrize(
    ("call", "args", "name", "zero"),
    [(call, args, name, zero) for call, args, names in CALLS for name, zero in names.items()],
)
def test_numbers_without_sense_are_refused_before_anything_is_opened(
    call: Any, args: tuple[Any, ...], name: str, zero: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in [*NOT_WHOLE, *([] if zero else [0])]:
        with pytest.raises(
            PairalignError, match=rf"^{name}=.*: give a whole number of at least \d( or null| and .*)?\.$"
        ):
            call(*args, **{name: value})
    assert not list(tmp_path.iterdir())


def test_what_has_no_rule_is_left_alone_and_calls_are_as_before() -> None:
    @checked(DataError)
    def add(first: int, second: Count = 2, *rest: Any, seed: Whole | None = None, **more: Any) -> tuple[Any, ...]:
        """Of the test."""
        return first, second, rest, seed, more

    assert add(-1) == (-1, 2, (), None, {})
    assert add(-1, 3, "x", seed=None, other=-5) == (-1, 3, ("x",), None, {"other": -5})
    assert add.__doc__ == "Of the test."
    with pytest.raises(DataError, match=r"^second=0: give a whole number of at least 1\.$"):
        add(1, 0)
    with pytest.raises(DataError, match=r"^seed=-1: give a whole number of at least 0\.$"):
        add(1, seed=-1)
    with pytest.raises(TypeError, match="missing"):
        add()  # type: ignore[call-arg]
    with pytest.raises(ConfigError):
        checked()(add.__wrapped__)(1, 0)  # type: ignore[attr-defined]
