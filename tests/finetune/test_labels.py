"""`{label}` in a task: the word that a sample was packed with, asked and taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.pack import pack_pairs
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Task


def packed(folder: Path, *labels: Any) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"key": f"k{n}", "touch": rng.normal(size=4).astype(np.float32), "text": f"no. {n}", "label": label}
        for n, label in enumerate(labels)
    ]
    pack_pairs(rows, folder, split="train", progress=False, seed=None)
    return folder


def task(folder: Path, prompt: str = "{touch} what is it?", answer: str = "{label}") -> Task:
    return Task("name", TaskConfig(str(folder), prompt, answer), ".", ["touch"])


def test_a_label_is_the_answer_and_a_field_of_the_prompt(tmp_path: Path) -> None:
    made = task(packed(tmp_path / "s", "felt", "wood"), "{touch} is {text} {label}?", "it is {label}.")
    examples = {example.key: example for example in made.read()}
    assert {key: example.answer for key, example in examples.items()} == {"k0": "it is felt.", "k1": "it is wood."}
    assert [part["type"] for part in examples["k1"].parts] == ["touch", "text"]
    assert examples["k1"].parts[1]["text"] == " is no. 1 wood?"
    assert sorted(task(tmp_path / "s").answers()) == ["felt", "wood"]  # of no stored field at all


def test_a_label_that_is_no_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task 'name': \{label\}: .* holds no labels: pack with a column label"):
        task(packed(tmp_path / "none", None, None))
    with pytest.raises(ConfigError, match=r"has labels of factors \(colour, form\), and no single word"):
        task(packed(tmp_path / "factors", {"colour": "red", "form": "round"}, {"colour": "blue", "form": "flat"}))
    with pytest.raises(DataError, match=r"sample 'k1': its label is None, and no word"):
        list(task(packed(tmp_path / "some", "felt", None)).read())
