"""TVL's accuracy against plain loops over what its description says, and on embeddings known by heart."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.align.run import AlignRun
from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.protocols.captions import sentence, words_by_key, words_of
from pairalign.evaluate.protocols.result import ProtocolResult
from pairalign.evaluate.protocols.run import evaluate_protocol
from pairalign.evaluate.protocols.tvl import both_ways

Run = Callable[..., AlignRun]
Pack = Callable[..., Path]
EDGES = (("touch", "image"), ("touch", "text"), ("image", "text"))


def value(found: ProtocolResult, name: str, metric: str, split: str = "test") -> Any:
    (one,) = [m for m in found.scores if (m.name, m.metric, m.split) == (name, metric, split)]
    return one.score


def rows_of(count: int, word_vector: Callable[..., np.ndarray], seed: int = 0) -> list[dict[str, Any]]:
    """Noisy touches and images of captions of one to three words."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        words = sorted(draw.choice(["soft", "woven", "hard", "smooth", "rough"], draw.integers(1, 4), replace=False))
        sides = {m: word_vector(*words, seed=100 * i + j, noise=0.4) for j, m in enumerate(("touch", "image"))}
        rows.append({"key": f"s{i:03d}", **sides, "text": ", ".join(words).title() + ".", "split": "test"})
    return rows


def slow(queries: np.ndarray, targets: np.ndarray, right: list[list[bool]], k: int) -> float:
    hits = 0
    for i, query in enumerate(queries):
        order = sorted(range(len(targets)), key=lambda j: -float(query @ targets[j]))
        hits += any(right[i][j] for j in order[:k])
    return hits / len(queries)


def test_accuracy_is_that_of_plain_loops(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray], text_vector: Callable[[str], np.ndarray]
) -> None:
    rows = rows_of(60, word_vector)
    found = evaluate_protocol(known_run(*EDGES), pack(rows), "tvl", settings={"captions": "whole"}, progress=False)

    rows = sorted(rows, key=lambda row: row["key"])
    unit = {m: np.stack([row[m] / np.linalg.norm(row[m]) for row in rows]) for m in ("touch", "image")}
    captions = []
    for row in rows:
        words = row["text"].lower().rstrip(".").split(", ")
        captions.append(words[0] + "." if len(words) == 1 else ", ".join(words[:-1]) + ", and " + words[-1] + ".")
    unit["text"] = np.stack([text_vector(caption) for caption in captions])
    near = [[float(a @ b) > 0.6356450319 for b in unit["text"]] for a in unit["text"]]
    same = [[i == j for j in range(60)] for i in range(60)]
    assert 60 < sum(map(sum, near)) < 3600 / 2  # the threshold decides something
    for (a, b), right in ((("touch", "text"), near), (("touch", "image"), same), (("image", "text"), near)):
        for k in (1, 5):
            tau = "" if b == "image" else " at τ 0.636"
            forward, backward = slow(unit[a], unit[b], right, k), slow(unit[b], unit[a], right, k)
            assert value(found, f"{a} → {b}", f"top-{k}{tau}").value == pytest.approx(forward)
            assert value(found, f"{a} ← {b}", f"top-{k}{tau}").value == pytest.approx(backward)
            both = value(found, f"{a} – {b}", f"top-{k}{tau}")
            assert both.value == pytest.approx((forward + backward) / 2)
            assert both.low < both.value < both.high
            assert both.n == 60
    chance = np.mean([sum(row) / 60 for row in near])
    assert value(found, "touch – text", "top-1 at τ 0.636").chance == pytest.approx(chance)
    assert value(found, "touch – image", "top-1").chance == pytest.approx(1 / 60)
    assert value(found, "touch – image", "top-1").value < 1
    assert both.value > both.chance


def test_a_score_known_by_hand() -> None:
    x = torch.eye(4)
    y = torch.eye(4)[[1, 0, 2, 3]] + 0.01  # the first two are exchanged
    right = torch.eye(4, dtype=torch.bool)
    scores = {(name, metric): score for name, metric, score in both_ways(x, y, right, ("a", "b"), None, 0)}
    assert scores[("a – b", "top-1")].value == 0.5
    right[0, 1] = right[1, 0] = True  # their captions mean the same
    scores = {(name, metric): score for name, metric, score in both_ways(x, y, right, ("a", "b"), None, 0)}
    assert scores[("a – b", "top-1")].value == 1.0
    assert scores[("a – b", "top-1")].chance == pytest.approx(6 / 16)


def test_the_mean_is_over_both_directions() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])  # forward all look alike, and the first is nearest to all
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    scores = {name: s.value for name, metric, s in both_ways(x, y, torch.eye(3, dtype=torch.bool), ("a", "b"), None, 0)}
    assert scores["a → b"] == pytest.approx(1 / 3)
    assert scores["a ← b"] == pytest.approx((0.5 + 0 + 1) / 3)  # a tie of two, a miss, a hit
    assert scores["a – b"] == pytest.approx((1 / 3 + 0.5) / 2)


def test_a_caption_at_the_threshold_is_wrong_and_just_above_it_right(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray], text_features: Callable[[list[str]], Tensor]
) -> None:
    words = ["soft", "woven", "hard", "smooth", "rough", "wood"]
    rows = [
        {"key": f"k{i}", "touch": word_vector(words[i ^ 1]), "text": f"soft, {word}", "split": "test"}
        for i, word in enumerate(words)
    ]  # every touch finds its neighbour's caption
    run, pairs = known_run(("touch", "text")), pack(rows)
    unit = F.normalize(text_features([sentence(words_of(row["text"])) for row in rows]).double(), dim=1)
    affinity = unit @ unit.T
    at = float(affinity[2, 3])
    settings = {"captions": "whole", "tau": [at, math.nextafter(at, 0)]}
    found = evaluate_protocol(run, pairs, "tvl", settings=settings, progress=False)
    strict, just = (m.score.value for m in found.scores if m.name == "touch → text" and m.metric.startswith("top-1"))
    assert just - strict == pytest.approx(2 / 6)  # samples 2 and 3 find each other's caption


def test_a_collapsed_run_scores_chance(known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]) -> None:
    rows = [{**row, "touch": word_vector("soft")} for row in rows_of(30, word_vector)]
    found = evaluate_protocol(known_run(*EDGES), pack(rows), "tvl", progress=False)
    for one in (m.score for m in found.scores if m.name == "touch → image"):
        assert one.value == pytest.approx(one.chance)
        assert one.at_chance


def test_captions_follow_from_the_key_and_nothing_else() -> None:
    words = ["soft", "woven", "hard"]
    drawn = [tuple(words_by_key(words, f"key {i}")) for i in range(3000)]
    assert drawn[:9] == [tuple(words_by_key(words, f"key {i}")) for i in range(9)]
    counts = Counter(drawn)
    assert len(counts) == 7
    assert () not in counts
    assert all(list(subset) == [w for w in words if w in subset] for subset in counts)
    assert max(abs(count - 3000 / 7) for count in counts.values()) < 90  # four and a half deviations
    assert words_by_key(["warm"], "any") == ["warm"]


def test_the_draw_of_captions_changes_neither_with_order_nor_with_the_seed(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows, run = rows_of(40, word_vector), known_run(*EDGES)
    first = evaluate_protocol(run, pack(rows), "tvl", seed=0, progress=False)
    other = evaluate_protocol(run, pack(rows[::-1], "other"), "tvl", seed=7, progress=False)
    assert [m.score.value for m in first.scores] == pytest.approx([m.score.value for m in other.scores])
    whole = evaluate_protocol(run, pack(rows, "third"), "tvl", settings={"captions": "whole"}, progress=False)
    assert [m.score.value for m in first.scores] != pytest.approx([m.score.value for m in whole.scores])


def test_forms_of_a_caption() -> None:
    assert words_of(" Soft, fuzzy.\n") == ["soft", "fuzzy"]
    assert [sentence(list("abc")[:n]) for n in (1, 2, 3)] == ["a.", "a, and b.", "a, b, and c."]


def test_the_leakage_free_splits_stand_beside_the_official_one_and_leaks_are_counted(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(60, word_vector)
    for i, row in enumerate(rows):  # ten trajectories; the official split tears them apart, the other does not
        row["split"] = "test" if i % 3 == 0 else "train"
        row["group"] = f"t{i % 10}"
        row["splits"] = {"by_trajectory": "test" if i % 10 < 3 else "train"}
    found = evaluate_protocol(known_run(*EDGES), pack(rows), "tvl", progress=False)
    by_split = {m.split: m for m in found.scores if (m.name, m.metric) == ("touch – image", "top-1")}
    official, free = by_split["test"], by_split["by_trajectory/test"]
    assert (official.split_set, free.split_set) == ("official", "leakage-free")
    assert official.published["TVL ViT-Ti"] == 0.781
    assert not free.published
    assert official.overlap == {"trained_on": ["train"], "samples": 0, "groups": 20}
    assert free.overlap["samples"] == sum(i % 3 != 0 and i % 10 < 3 for i in range(60)) > 0
    assert "leakage: 12 of the 18 samples of by_trajectory/test were trained on (train)." in found.table
    assert official.score.clusters == 10

    clean = known_run(*EDGES, train_split="by_trajectory/train")
    again = evaluate_protocol(clean, found.path.parents[2] / "pairs", "tvl", progress=False)
    free = next(m for m in again.scores if m.split == "by_trajectory/test")
    assert (free.overlap["samples"], free.overlap["groups"]) == (0, 0)
    elsewhere = known_run(*EDGES, shards="other")
    again = evaluate_protocol(elsewhere, found.path.parents[2] / "pairs", "tvl", progress=False)
    assert all(not m.overlap for m in again.scores)  # nothing is known of other shards
    assert again.differs[-1].startswith("the run learnt from other shards")
    assert not any(line.startswith("the run learnt") for line in found.differs)


def test_the_result_says_what_was_measured_and_how_it_differs(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    rows = rows_of(12, word_vector)
    found = evaluate_protocol(known_run(*EDGES), pack(rows), "tvl", out=tmp_path / "here", progress=False)
    written = json.loads((tmp_path / "here" / "tvl.json").read_text())
    assert written["n"] == {"test": 12}
    assert written["settings"]["tau"] == 0.6356450319
    assert written["settings"]["captions"] == "by_key"
    assert "12 pairs in test instead of the published 402." in written["differs"]
    assert any("draws it at random" in line for line in written["differs"])
    touch_text = next(m for m in written["scores"] if m["name"] == "touch – text")
    assert touch_text["published"] == {"TVL ViT-Ti": 0.362, "TVL ViT-S": 0.368, "TVL ViT-B": 0.309}
    assert {"value", "low", "high", "n", "chance"} <= touch_text["score"].keys()
    assert not next(m for m in written["scores"] if m["name"] == "touch → text")["published"]
    assert "touch → text" not in found.table
    assert "and 15 more scores in tvl.json" in found.table
    assert "touch – text" in found.table
    assert "TVL ViT-Ti 0.362" in found.table
    other = evaluate_protocol(known_run(*EDGES), found.path.parents[1] / "pairs", "tvl", settings={"tau": 0.9})
    assert not next(m for m in other.scores if m.name == "touch – text").published  # they are of another τ


@pytest.mark.usefixtures("nothing_is_encoded")
def test_what_cannot_be_measured_is_refused_before_encoding(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(6, word_vector)
    run, pairs = known_run(*EDGES), pack(rows)
    for settings, message in (
        ({"tau": 1.0}, "setting tau=1.0: give a cosine"),
        ({"tau": []}, "or a list of them"),
        ({"captions": "by-key"}, "Did you mean 'by_key'"),
        ({"similarity": "towr"}, "Did you mean 'tower'"),
        ({"touch": "tuch"}, "aligns no modality 'tuch'. Did you mean 'touch'"),
        ({"tua": 0.5}, "has no setting 'tua'. Did you mean 'tau'"),
        ({"tau": "high"}, "give a number or a list"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_protocol(run, pairs, "tvl", settings=settings, progress=False)
    with pytest.raises(DataError, match=r"no split 'tets'\. Did you mean 'test'"):
        evaluate_protocol(run, pairs, "tvl", settings={"split": "tets"}, progress=False)
    with pytest.raises(ConfigError, match="aligns no modality 'touch'"):
        evaluate_protocol(known_run(("image", "text")), pairs, "tvl", progress=False)
    bare = pack([{k: v for k, v in row.items() if k != "touch"} for row in rows], "bare")
    with pytest.raises(DataError, match="no 'touch' for touch=touch"):
        evaluate_protocol(run, bare, "tvl", progress=False)
    alone = pack([{k: v for k, v in row.items() if k not in ("text", "image")} for row in rows], "alone")
    with pytest.raises(DataError, match="there is neither"):
        evaluate_protocol(run, alone, "tvl", progress=False)
    empty = pack([{**row, "text": " . , "} if i == 3 else row for i, row in enumerate(rows)], "empty")
    with pytest.raises(DataError, match=r"sample 's003': caption .* holds no words"):
        evaluate_protocol(run, empty, "tvl", progress=False)
    with pytest.raises(DataError, match="one sample has nothing to be mistaken for"):
        evaluate_protocol(run, pack(rows[:1], "one"), "tvl", progress=False)
