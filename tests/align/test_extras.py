"""Loggers and callbacks that a configuration names: told what metrics.jsonl is, and refused before anything starts."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from pairalign.align.extras import build_extras
from pairalign.align.run import align_pairs, read_metrics
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError

PLUGIN = """
from pathlib import Path
import lightning as L
class Fails(L.Callback):
    def __init__(self, at, where):
        self.at, self.where = at, Path(where)
    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step == self.at and self.where.exists():
            raise RuntimeError("killed")
"""


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "logs" / "csv" / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_table_has_what_the_json_lines_have_and_goes_on_after_a_kill(
    align_settings: dict[str, Any], tmp_path: Path
) -> None:
    plugin, armed, out = tmp_path / "fails_at.py", tmp_path / "armed", Path(align_settings["out"])
    plugin.write_text(PLUGIN)
    armed.touch()
    told = {**align_settings, "log": ["csv"], "plugins": [str(plugin)]}
    told["callbacks"] = [{"fails_at.Fails": {"at": 10, "where": str(armed)}}]
    with pytest.raises(RuntimeError, match="killed"):
        align_pairs(load_config(AlignConfig, told), progress=False)
    assert max(row["step"] for row in rows(out)) > 8  # behind the checkpoint
    armed.unlink()
    align_pairs(load_config(AlignConfig, told), progress=False)
    lines = [pytest.approx(line) for line in read_metrics(out)]
    assert rows(out) == lines
    done = load_config(AlignConfig, {**told, "log": []})
    assert align_pairs(done, progress=False).finished, "another logger makes no other run"
    align_pairs(load_config(AlignConfig, told), progress=False, fresh=True)
    assert rows(out.with_name("run.old-1")) == lines
    assert len(rows(out)) == len(lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log": ["trackio"]}, "log.0 is 'trackio': trackio has no logger for Lightning: give csv"),
        ({"log": ["csv", "tensorbord"]}, "log.1 is 'tensorbord'. Did you mean 'tensorboard'"),
        ({"log": [{"csv": {"flush": 1}}]}, "log.0 is 'csv' with options"),
        ({"log": ["lightning.pytorch.callbacks.Timer"]}, "log.0 .* no class derived from Lightning's Logger"),
        ({"callbacks": ["lightning.pytorch.callbacks.Timr"]}, "callbacks.0 .* has no 'Timr'"),
        ({"callbacks": ["nowhere.Timer"]}, "callbacks.0 is 'nowhere.Timer': ModuleNotFoundError.*name its file"),
        ({"callbacks": [{"lightning.pytorch.callbacks.Timer": {"duraton": 3}}]}, "callbacks.0 .*duraton"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_starts(
    settings: dict[str, Any], message: str, align_settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        align_pairs(load_config(AlignConfig, align_settings | settings), progress=False)
    assert not (Path(align_settings["out"]) / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_is_made_or_its_missing_package_named(
    name: str, align_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in ("wandb", "mlflow") or name not in sys.modules:
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(ConfigError, match=f"log.0 is '{name}'.*pip install {name}"):
                build_extras(load_config(AlignConfig, align_settings | {"log": [name]}))
            return
    (logger,) = build_extras(load_config(AlignConfig, align_settings | {"log": [name]})).loggers
    assert name in type(logger).__name__.lower()


def test_an_entry_has_one_name(align_settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"log.0. is .*give one name with its options"):
        load_config(AlignConfig, align_settings | {"log": [{"csv": {}, "wandb": {}}]})
