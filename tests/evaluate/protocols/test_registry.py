"""The registry of protocols: names, settings, a stranger's protocol, and that listing them loads no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import recorded_as
from pairalign.align.run import AlignRun
from pairalign.core.errors import ConfigError, SignalError
from pairalign.evaluate.intervals import wilson
from pairalign.evaluate.protocols import registry
from pairalign.evaluate.protocols.registry import MODULES, find_protocol, known_protocols, register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.run import evaluate_protocol
from pairalign.evaluate.protocols.task import Task


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    registry._PROTOCOLS.pop("mine", None)


def test_every_protocol_names_its_source_and_what_differs() -> None:
    found = known_protocols()
    assert list(found) == sorted(MODULES)
    for name, protocol in found.items():
        assert protocol.name == name
        assert "arXiv:" in protocol.source
        assert protocol.title
        assert protocol.differs
        assert "split" in protocol.settings
        documented = protocol.measure.__doc__ or ""
        assert all(setting in documented for setting in protocol.settings), name


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"protocol 'tvll' is unknown\. Did you mean 'tvl'"):
        find_protocol("tvll")
    with pytest.raises(ConfigError, match="Known: cross-sensor, modelnet40"):
        find_protocol("xyz")


def test_a_protocol_of_ones_own_is_measured_and_written(
    known_run: Callable[..., AlignRun], pack: Callable[..., Path]
) -> None:
    @register_protocol("mine", title="counts", source="nobody (arXiv:0)", differs=("in all",))
    def measure(task: Task, right: int = 1, strict: bool = False) -> list[Measurement]:
        task.notes.append("and in this")
        return [Measurement("count", "share", wilson(right, len(task.meta("test"))), "test", "official")]

    rows = [{"touch": np.eye(12, dtype="float32")[i], "image": np.eye(12)[i], "split": "test"} for i in range(4)]
    run, pairs = known_run(("touch", "image")), pack(rows)
    found = evaluate_protocol(run, pairs, "mine", settings={"right": 3}, progress=False)
    assert found.path == run.folder / "evaluation" / "mine.json"
    assert found.path.is_file()
    assert found.scores[0].score.value == 0.75
    assert found.differs == ("in all", "and in this")
    assert found.settings == {"right": 3, "strict": False, "limit": None, "seed": 0}
    for wrong in ({"right": "3"}, {"strict": 1}, {"right": True}):
        with pytest.raises(ConfigError, match="of protocol 'mine': give"):
            evaluate_protocol(run, pairs, "mine", settings=wrong, progress=False)


def test_pairs_of_another_unit_are_refused_before_anything_is_measured(
    known_run: Callable[..., AlignRun], pack: Callable[..., Path], tmp_path: Path
) -> None:
    @register_protocol("mine", title="none", source="nobody (arXiv:0)")
    def measure(task: Task) -> list[Measurement]:
        raise AssertionError("measured")

    rows = [{"touch": np.eye(12, dtype="float32")[i], "image": np.eye(12)[i], "split": "test"} for i in range(4)]
    wrong = recorded_as(pack(rows), tmp_path / "wrong", "touch", unit="kPa")
    with pytest.raises(SignalError, match=r"field 'touch': the data records unit 'kPa', the encoder declares '1'"):
        evaluate_protocol(known_run(("touch", "image")), wrong, "mine", progress=False)


def test_a_name_has_one_owner() -> None:
    find_protocol("tvl")
    with pytest.raises(ConfigError, match=r"'tvl' is registered already, by pairalign\.evaluate\.protocols\.tvl"):
        register_protocol("tvl", title="", source="")(lambda task: [])


def test_listing_the_names_loads_no_torch() -> None:
    code = "import sys; from pairalign.cli.main import build_parser; build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
