"""Names that users have of earlier versions still do what those of today do, and say what they are called now."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.trainer.call import _call_callbacks_load_state_dict

from pairalign.align import dataset, run
from pairalign.data import convert
from pairalign.data.convert import dataset_format
from pairalign.finetune import callbacks, sampling


def test_a_data_set_is_registered_by_the_earlier_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(FutureWarning, match="known_layouts is called known_formats now"):
        known = convert.known_layouts()
    assert known == convert.known_formats()
    monkeypatch.setattr(dataset_format, "_FORMATS", copy.copy(dataset_format._FORMATS))
    with pytest.warns(FutureWarning, match="register_layout is called register_format now"):
        convert.register_layout("mine", title="", source="", licence="", marks=())(lambda folder, skip: iter(()))
    with pytest.warns(FutureWarning, match="find_layout is called find_format now"):
        assert isinstance(convert.find_layout("mine"), convert.Layout)


def test_the_datasets_of_both_stages_under_their_earlier_names() -> None:
    assert (dataset.PairFeed, dataset.FeedSource) == (dataset.PairDataset, dataset.DatasetSource)
    assert sampling.TaskFeed is sampling.TaskDataset
    assert inspect.unwrap(run.build_feeds) is run.build_datasets


def test_a_checkpoint_of_an_earlier_version_finds_its_callback() -> None:
    callback = object.__new__(callbacks.EvaluationCallback)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback])
    told = {"history": [[3, {}]], "base": {}, "best": None, "verdict": "stopped at step 3"}
    _call_callbacks_load_state_dict(trainer, {"callbacks": {"Watch": told}})
    assert callback.verdict == "stopped at step 3"
    assert callbacks.Watch is callbacks.EvaluationCallback


def test_split_sets_under_their_earlier_name() -> None:
    told: Any = {
        "name": "mine",
        "title": "",
        "source": "",
        "licence": "",
        "marks": (),
        "read": lambda folder, skip: iter(()),
    }
    with pytest.warns(FutureWarning, match="division of DatasetFormat is called split_set now"):
        known = convert.DatasetFormat(**told, division="by_box")
    assert known == convert.DatasetFormat(**told, split_set="by_box")
    assert known.division == replace(known, title="a").split_set == "by_box"
    with pytest.raises(TypeError, match="division is the earlier name of split_set"), pytest.warns(FutureWarning):
        convert.DatasetFormat(**told, division="by_box", split_set="by_box")
