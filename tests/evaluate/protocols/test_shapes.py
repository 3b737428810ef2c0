"""Zero-shot on shapes against plain loops, with the field's prompts and classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.align.run import AlignRun
from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.protocols import modelnet40, scanobjectnn
from pairalign.evaluate.protocols.run import evaluate_protocol
from pairalign.evaluate.protocols.shapes import templates_64
from pairalign.evaluate.run import measure_pool

Run = Callable[..., AlignRun]
Pack = Callable[..., Path]
EDGE = ("points", "text")


def test_the_prompts_are_the_published_ones() -> None:
    found = templates_64()
    assert len(set(found)) == len(found) == 64
    assert all(form.count("{}") == 1 for form in found)
    assert [form for form in found if not form.endswith(".")] == ["a black and white photo of a {}"]
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    assert digest == "f2d7885a07ae567c9396692bccba39dc6a8934d6987d31ca1f529827085e9200"  # a changed word shows
    assert len(set(modelnet40.CLASSES)) == 40
    assert len(set(scanobjectnn.CLASSES)) == 15


def rows_of(names: list[str], word_vector: Callable[..., np.ndarray], noise: float = 0.5) -> list[dict[str, Any]]:
    return [
        {"key": f"o{i:03d}", "points": word_vector(name, seed=i, noise=noise).reshape(4, 3), "label": name,
         "split": "test"}
        for i, name in enumerate(names)
    ]  # fmt: skip


def slow(
    rows: list[dict[str, Any]], classes: tuple[str, ...], text_vector: Callable[[str], np.ndarray], gate: np.ndarray
) -> dict[str, float]:
    """Overall and class-mean top-k: a unit mean of unit prompts a class, then a sort of cosines a sample."""
    prompts = json.loads((Path(modelnet40.__file__).parent / "templates_64.json").read_text())["templates"]
    vectors = []
    for name in classes:
        gated = [gate * text_vector(prompt.format(name)) for prompt in prompts]
        mean = sum(prompt / np.linalg.norm(prompt) for prompt in gated)
        vectors.append(mean / np.linalg.norm(mean))
    found = {}
    for k in (1, 3, 5):
        hits: dict[str, list[bool]] = {}
        for row in rows:
            order = sorted(range(len(classes)), key=lambda c: -float(gate * row["points"].ravel() @ vectors[c]))
            name = row["label"].replace("_", " ")
            hits.setdefault(name, []).append(name in [classes[c] for c in order[:k]])
        found[f"top-{k}"] = sum(sum(h) for h in hits.values()) / len(rows)
        found[f"top-{k}, class mean"] = sum(sum(h) / len(h) for h in hits.values()) / len(hits)
    return found


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("name", "classes"), [("modelnet40", modelnet40.CLASSES), ("scanobjectnn", scanobjectnn.CLASSES)]
)
def test_accuracy_is_that_of_plain_loops(
    name: str,
    classes: tuple[str, ...],
    gated: bool,
    known_run: Run,
    pack: Pack,
    word_vector: Callable[..., np.ndarray],
    text_vector: Callable[[str], np.ndarray],
) -> None:
    rows = rows_of(["chair"] * 40 + ["table"] * 12 + ["door"] * 4, word_vector)
    run = known_run(EDGE, gated=gated)
    found = evaluate_protocol(run, pack(rows), name, progress=False)
    wanted = slow(rows, classes, text_vector, run.aligner.path_gate(*EDGE).detach().numpy())
    measured = {m.metric: m.score for m in found.scores}
    assert measured.keys() == wanted.keys()
    for metric, score in measured.items():
        assert score.value == pytest.approx(wanted[metric]), metric
        assert score.chance == pytest.approx(int(metric[4]) / len(classes))
        assert score.n == 56
    assert wanted["top-1"] != pytest.approx(wanted["top-1, class mean"])
    assert 0 < wanted["top-1, class mean"] < 1
    top = next(m for m in found.scores if m.metric == "top-1")
    assert top.published["Uni3D-g"] in (0.882, 0.653)
    assert all(not m.published for m in found.scores if m.metric != "top-1")
    assert any("56 labelled samples in test instead of" in line for line in found.differs)


def test_a_score_known_by_hand(known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]) -> None:
    rows = rows_of(["chair"] * 8 + ["table"] * 2, word_vector, noise=0.0)
    rows[9]["points"] = word_vector("chair").reshape(4, 3)  # one of the two tables is seen as a chair
    found = evaluate_protocol(known_run(EDGE), pack(rows), "scanobjectnn", progress=False)
    scores = {m.metric: m.score.value for m in found.scores}
    assert scores["top-1"] == pytest.approx(0.9)
    assert scores["top-1, class mean"] == pytest.approx(0.75)


def test_each_prompt_counts_as_much_however_long_its_vector(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray], text_vector: Callable[[str], np.ndarray]
) -> None:
    """Two prompts, one of whose vectors is longer: a mean before normalising would lean to that one."""
    photo = np.zeros(12, np.float32)
    photo[10] = 1.0
    forms = ["{}", "a photo of {} of wood and metal, rough and hard."]
    names = {"lamp": "lamp", "woven chair": "woven chair"}
    vectors = {n: sum(text_vector(f.replace("{}", n)) for f in forms) for n in names}
    rows = []
    for i in range(20):
        mixed = word_vector("lamp", "wood", "rough", seed=i, noise=0.3)
        best = max(names, key=lambda n: float(mixed @ vectors[n] / np.linalg.norm(vectors[n])))
        rows.append({"key": f"k{i:02d}", "points": mixed.reshape(4, 3), "label": best, "split": "test"})
    rows += [{**row, "key": f"x{i}", "points": word_vector("chair", "woven").reshape(4, 3), "label": "woven chair"}
             for i, row in enumerate(rows[:2])]  # fmt: skip
    settings = {"templates": forms}
    found = evaluate_protocol(known_run(EDGE), pack(rows), "objaverse-lvis", settings=settings, progress=False)
    assert found.scores[0].score.value == 1.0
    assert any("2 prompts of your own" in line for line in found.differs)


def test_labels_are_spelt_as_in_the_prompts(known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]) -> None:
    rows = rows_of(["chair", "table"] * 3, word_vector, noise=0.0)
    for row in rows[:2]:
        row["label"] = "night_stand"
    found = evaluate_protocol(known_run(EDGE), pack(rows), "modelnet40", progress=False)
    assert found.scores[0].score.value == pytest.approx(4 / 6)
    for row in rows:
        row["label"] = {"category": "arctic_(type_of_shoe)" if row["label"] == "night_stand" else row["label"]}
    found = evaluate_protocol(known_run(EDGE), pack(rows, "lvis"), "objaverse-lvis", progress=False)
    assert found.scores[0].score.chance == pytest.approx(1 / 3)  # the classes are those of the shards
    assert "3 classes instead of 1156: chance is higher." in found.differs


def test_the_leakage_free_splits_stand_beside(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(["chair", "table"] * 10, word_vector, noise=0.0)
    for i, row in enumerate(rows):
        row |= {"split": "test" if i % 3 else "train", "splits": {"by_object": "test" if i < 5 else "train"}}
    found = evaluate_protocol(known_run(EDGE), pack(rows), "modelnet40", progress=False)
    tops = {m.split: m for m in found.scores if m.metric == "top-1"}
    assert {split: m.split_set for split, m in tops.items()} == {
        "test": "official", "by_object/test": "leakage-free"
    }  # fmt: skip
    assert tops["by_object/test"].score.n == 5
    assert tops["by_object/test"].overlap["samples"] == 2
    only = evaluate_protocol(
        known_run(EDGE), found.path.parents[2] / "pairs", "modelnet40", settings={"split": "train"}, progress=False
    )
    assert {m.split for m in only.scores} == {"train"}
    assert all(not m.published for m in only.scores)  # the figures are of the test part
    few = evaluate_protocol(
        known_run(EDGE), found.path.parents[2] / "pairs", "modelnet40", settings={"split": "train"}, limit=4
    )
    assert few.scores[0].score.n == few.scores[0].overlap["samples"] == 4  # of those measured, not of the split


@pytest.mark.usefixtures("nothing_is_encoded")
def test_what_cannot_be_measured_is_refused_before_encoding(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(["chair", "table"] * 3, word_vector)
    pairs = pack(rows)
    with pytest.raises(ConfigError, match=r"must align one modality of kind 'text' .* it has none"):
        evaluate_protocol(known_run(("points", "touch")), pairs, "modelnet40", progress=False)
    with pytest.raises(ConfigError, match="must align one modality of kind 'points'"):
        evaluate_protocol(known_run(("touch", "text")), pairs, "modelnet40", progress=False)
    split_graph = known_run(("points", "touch"), ("text", "image"))
    with pytest.raises(ConfigError, match="no path of pairs joins"):
        evaluate_protocol(split_graph, pairs, "modelnet40", progress=False)
    bare = pack([{k: v for k, v in row.items() if k != "label"} for row in rows], "bare")
    with pytest.raises(DataError, match="0 samples have a label: give at least 2"):
        evaluate_protocol(known_run(EDGE), bare, "modelnet40", progress=False)
    odd = pack([{**row, "label": "dragon"} for row in rows], "odd")
    with pytest.raises(DataError, match="label 'dragon' is none of the 15 classes"):
        evaluate_protocol(known_run(EDGE), odd, "scanobjectnn", progress=False)
    same = pack([{**row, "label": "dragon"} for row in rows], "same")
    with pytest.raises(DataError, match="name one class, 'dragon'"):
        evaluate_protocol(known_run(EDGE), same, "objaverse-lvis", progress=False)


def test_the_report_classifies_with_the_same_clusters(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    """The protocol and the report may not disagree on how many independent samples there are."""
    rows = rows_of(["chair", "table", "lamp"] * 8, word_vector)
    for i, row in enumerate(rows):
        row |= {"group": f"g{i % 12}", "session": f"s{i % 6}", "text": f"{row['label']} {i}"}
    run, pairs = known_run(EDGE), pack(rows)
    found = measure_pool(run, encode_pool(run, pairs, progress=False), ["chair", "table", "lamp"])
    score = found["zero_shot"]["points by text"].overall[1]
    same = evaluate_protocol(run, pairs, "modelnet40", settings={"split": "test"}, progress=False)
    assert score.clusters == same.scores[0].score.clusters == 6
