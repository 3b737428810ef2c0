"""From one sensor to another: order matters, objects are found, and sensors without data are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.align.run import AlignRun
from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.protocols.run import evaluate_protocol

Run = Callable[..., AlignRun]
Pack = Callable[..., Path]
SENSORS = ("digit", "gelsight", "mini")
EDGE = ("touch", "image")


def rows_of(word_vector: Callable[..., np.ndarray]) -> list[dict[str, Any]]:
    """Three sensors, soft and hard things. Test touches of gelsight that are soft feel hard, every third one."""
    rows = []
    for i in range(180):
        sensor, kind = SENSORS[i % 3], ("soft", "hard")[i // 3 % 2]
        split = "test" if i % 5 == 0 else "train"
        feel = "hard" if (sensor, split) == ("gelsight", "test") and i % 9 == 1 else kind
        touch = word_vector(feel, sensor, seed=i, noise=0.02)
        touch[10] = 0.1 * SENSORS.index(sensor)  # what betrays the sensor
        rows.append({"key": f"t{i:03d}", "touch": touch, "image": touch, "split": split,
                     "label": {"hardness": kind}, "meta": {"sensor": sensor}})  # fmt: skip
    return rows


def test_every_ordered_pair_is_probed_from_the_first_to_the_second(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector)
    found = evaluate_protocol(known_run(EDGE), pack(rows), "cross-sensor", progress=False)
    scores = {m.name: m for m in found.scores}
    for a in SENSORS:
        for b in SENSORS:
            one = scores[f"hardness, probe {a} → {b}" + (" (same sensor)" if a == b else "")]
            tested = [r for r in rows if r["split"] == "test" and r["meta"]["sensor"] == b]
            wrong = sum(r["label"]["hardness"] == "soft" and float(r["touch"][2]) > 0.5 for r in tested)
            assert one.score.n == len(tested) == 12
            assert one.score.value == pytest.approx(1 - wrong / 12), (a, b)
            assert (wrong > 0) == (b == "gelsight")  # which sensor is tested decides
            assert (one.split, one.train_split, one.split_set) == ("test", "train", "official")
    assert len(scores) == 9


def test_a_split_set_with_one_sensor_alone_is_left_out_and_said(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector)
    for row in rows:
        alone = row["meta"]["sensor"] == "digit" and row["split"] == "test"
        row["splits"] = {"by_object": "test" if alone else "none"}
    run, pairs = known_run(EDGE), pack(rows)
    found = evaluate_protocol(run, pairs, "cross-sensor", progress=False)
    assert {m.split for m in found.scores} == {"test"}
    assert any(line.startswith("by_object/test is left out: ") for line in found.differs)
    with pytest.raises(DataError, match="by_object/test: cross-sensor needs two sensors"):
        evaluate_protocol(run, pairs, "cross-sensor", settings={"split": "by_object/test"}, progress=False)


def test_the_first_sensor_trains(known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]) -> None:
    """One sensor is calibrated the other way round: a probe from it is wrong on others, and one to it as well."""
    rows = [r for r in rows_of(word_vector) if r["meta"]["sensor"] != "gelsight"]
    for row in rows:  # only the training touches of mini feel inverted
        if row["meta"]["sensor"] == "mini" and row["split"] == "train":
            row["touch"] = row["touch"][[2, 1, 0, *range(3, 12)]]
    found = evaluate_protocol(known_run(EDGE), pack(rows), "cross-sensor", progress=False)
    scores = {m.name.removeprefix("hardness, probe "): m.score.value for m in found.scores}
    assert scores == {
        "digit → digit (same sensor)": 1.0, "digit → mini": 1.0, "mini → digit": 0.0, "mini → mini (same sensor)": 0.0,
    }  # fmt: skip


def test_retrieval_across_sensors_is_that_of_plain_loops(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    draw, rows = np.random.default_rng(3), []
    objects = draw.normal(size=(6, 12))
    for i in range(60):
        thing, sensor = i % 6, SENSORS[i // 6 % 2]
        touch = (objects[thing] + draw.normal(0, 0.9, 12)).astype(np.float32)
        rows.append({"key": f"t{i:02d}", "touch": touch, "image": touch, "split": "test", "group": f"thing{thing}",
                     "meta": {"sensor": sensor}})  # fmt: skip
    found = evaluate_protocol(known_run(EDGE), pack(rows), "cross-sensor", progress=False)
    assert [m.name for m in found.scores] == [
        "object, retrieval digit → gelsight", "object, retrieval gelsight → digit",
    ]  # fmt: skip
    for one, (a, b) in zip(found.scores, (("digit", "gelsight"), ("gelsight", "digit")), strict=True):
        queries = [r for r in rows if r["meta"]["sensor"] == a]
        targets = [r for r in rows if r["meta"]["sensor"] == b]
        hits = 0
        for query in queries:
            cosines = [float(query["touch"] @ t["touch"] / np.linalg.norm(t["touch"])) for t in targets]
            hits += targets[int(np.argmax(cosines))]["group"] == query["group"]
        assert one.score.value == pytest.approx(hits / 30)
        assert one.score.chance == pytest.approx(1 / 6)
        assert one.score.clusters == 6
    assert found.scores[0].score.value != found.scores[1].score.value


@pytest.mark.usefixtures("nothing_is_encoded")
def test_what_cannot_be_compared_is_refused_before_encoding(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector)
    run = known_run(EDGE)
    one = pack([r for r in rows if r["meta"]["sensor"] == "digit"], "one")
    bare = pack([{k: v for k, v in r.items() if k != "meta"} for r in rows], "bare")
    plain = pack([{k: v for k, v in r.items() if k != "label"} for r in rows], "plain")
    for pairs, message in (
        (one, r"needs two sensors of at least 5 samples each.*there are: digit 60\."),
        (bare, "there are: none"),
        (plain, "nothing to compare them by"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate_protocol(run, pairs, "cross-sensor", progress=False)
    pairs = pack(rows)
    with pytest.raises(DataError, match="Did you mean 'hardness'"):
        evaluate_protocol(run, pairs, "cross-sensor", settings={"factor": "hardnes"}, progress=False)
    with pytest.raises(ConfigError, match="Did you mean 'shared'"):
        evaluate_protocol(run, pairs, "cross-sensor", settings={"latents": "share"}, progress=False)
    with pytest.raises(ConfigError, match="limit=1: give a whole number of at least 2"):
        evaluate_protocol(run, pairs, "cross-sensor", limit=1, progress=False)
