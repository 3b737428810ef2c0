"""Touch and Go on touches whose class is known by heart: probe, zero-shot, both split sets, what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import convert, picture

from pairalign.align.model import build_aligner
from pairalign.align.run import AlignRun
from pairalign.core.config import AlignConfig, DataConfig, EdgeConfig, ModalityConfig
from pairalign.core.errors import ConfigError, DataError
from pairalign.data.convert.touch_and_go import MATERIALS
from pairalign.evaluate.protocols.result import Measurement, ProtocolResult
from pairalign.evaluate.protocols.run import evaluate_protocol
from pairalign.evaluate.zero_shot import TEMPLATES

Run = Callable[..., AlignRun]
Pack = Callable[..., Path]
HARDNESS = {"wood": "hard", "metal": "hard", "leather": "soft"}


def rows_of(word_vector: Callable[..., np.ndarray], wrong: int = 0) -> list[dict[str, Any]]:
    """Ninety touches of twelve recordings; the first `wrong` test touches of metal feel like wood."""
    rows = []
    for i in range(90):
        material = ("wood", "metal", "leather")[i % 3]
        split = "test" if i % 5 == 0 else "train"
        feel = "wood" if split == "test" and material == "metal" and i // 15 < wrong else material
        rough = ("rough", "smooth")[i // 3 % 2]
        label = {"material": material, "hardness": HARDNESS[material]}
        part = "none"
        if i % 2:
            label["roughness"], part = rough, "test" if i % 4 == 1 else "train"
        touch = word_vector({"leather": "woven"}.get(feel, feel), HARDNESS[feel], rough, seed=i)
        splits = {"rough": part, "by_recording": "test" if i % 12 in (0, 4, 11) else "train"}
        rows.append({"key": f"r{i:03d}", "touch": touch, "image": touch, "label": label, "split": split,
                     "splits": splits, "session": f"rec{i % 12}"})  # fmt: skip
    return rows


def one(found: ProtocolResult, name: str, metric: str, split: str) -> Measurement:
    (measured,) = [m for m in found.scores if (m.name, m.metric, m.split) == (name, metric, split)]
    return measured


def test_the_probe_goes_from_train_to_test_of_each_split_set(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector, wrong=4)
    found = evaluate_protocol(known_run(("touch", "image")), pack(rows), "touch-and-go", progress=False)
    material = one(found, "material, linear probe", "accuracy", "test")
    tested = [row for row in rows if row["split"] == "test"]
    metal = [row for row in tested if row["label"]["material"] == "metal"]
    assert len(metal) > 4
    assert material.score.value == pytest.approx(1 - 4 / len(tested))  # four of them feel like wood
    trained = Counter(row["label"]["material"] for row in rows if row["split"] == "train").most_common(1)[0][0]
    assert material.score.chance == pytest.approx(np.mean([r["label"]["material"] == trained for r in tested]))
    assert (material.train_split, material.split_set) == ("train", "official")
    assert material.published == {"AnyTouch": 0.808}
    assert material.score.n == 18
    assert one(found, "hardness, linear probe", "accuracy", "test").score.value == 1.0

    rough = one(found, "roughness, linear probe", "accuracy", "rough/test")
    assert (rough.train_split, rough.split_set, rough.score.n) == ("rough/train", "official", 23)
    assert rough.published == {"AnyTouch": 0.867}
    assert rough.score.value == 1.0
    for factor in ("material", "hardness", "roughness"):
        free = one(found, f"{factor}, linear probe", "accuracy", "by_recording/test")
        assert (free.train_split, free.split_set) == ("by_recording/train", "leakage-free")
        mine = [r for r in rows if factor in r["label"] and r["splits"]["by_recording"] == "test"]
        assert not free.published
        assert free.score.n == len(mine)
        assert free.overlap["samples"] == sum(r["split"] == "train" for r in mine) > 0  # the run saw these
    assert material.overlap == {"trained_on": ["train"], "samples": 0, "groups": 18}
    assert "are of objects or recordings that were trained on" in found.table
    assert any("no zero-shot" in line for line in found.differs)


def test_zero_shot_is_that_of_plain_loops(
    known_run: Run,
    pack: Pack,
    word_vector: Callable[..., np.ndarray],
    text_vector: Callable[[str], np.ndarray],
) -> None:
    rows = rows_of(word_vector, wrong=3)
    rows = [row for i, row in enumerate(rows) if row["label"]["material"] != "leather" or i % 2]
    run = known_run(("touch", "image"), ("touch", "text"))
    settings = {"ways": ["zero-shot"], "factors": ["material"]}
    found = evaluate_protocol(run, pack(rows), "touch-and-go", settings=settings, progress=False)
    vectors = []
    for name in MATERIALS:
        mean = np.mean([text_vector(form.replace("{}", name)) for form in TEMPLATES["touch"]], axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    hits: dict[str, list[bool]] = {}
    for row in rows:
        if row["split"] == "test":
            order = sorted(range(20), key=lambda c: -float(row["touch"] @ vectors[c]))
            hits.setdefault(row["label"]["material"], []).append(MATERIALS[order[0]] == row["label"]["material"])
    assert len({len(h) for h in hits.values()}) > 1  # else both means are one
    overall = one(found, "material, zero-shot", "top-1", "test").score
    assert overall.value == pytest.approx(np.mean([h for each in hits.values() for h in each]))
    mean = one(found, "material, zero-shot", "top-1, class mean", "test").score
    assert mean.value == pytest.approx(np.mean([np.mean(each) for each in hits.values()]))
    assert mean.value != pytest.approx(overall.value)
    assert overall.chance == 1 / 20
    assert {m.metric for m in found.scores} == {f"top-{k}{c}" for k in (1, 3, 5) for c in ("", ", class mean")}


def test_what_is_not_labelled_is_left_out_and_said(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector)
    for row in rows:
        row["label"].pop("roughness", None)
        del row["splits"]
    run, pairs = known_run(("touch", "image")), pack(rows)
    found = evaluate_protocol(run, pairs, "touch-and-go", progress=False)
    assert {m.name.split(",")[0] for m in found.scores} == {"material", "hardness"}
    assert {m.split for m in found.scores} == {"test"}
    with pytest.raises(DataError, match="label none of roughness"):
        evaluate_protocol(run, pairs, "touch-and-go", settings={"factors": ["roughness"]}, progress=False)


@pytest.mark.usefixtures("nothing_is_encoded")
def test_what_cannot_be_measured_is_refused_before_encoding(
    known_run: Run, pack: Pack, word_vector: Callable[..., np.ndarray]
) -> None:
    rows = rows_of(word_vector)
    run, pairs = known_run(("touch", "image")), pack(rows)
    for settings, message in (
        ({"factors": ["roughnes"]}, "Did you mean 'roughness'"),
        ({"ways": ["probes"]}, "Did you mean 'probe'"),
        ({"ways": "probe"}, r"give a list such as \[a, b\] or null"),
        ({"latents": "priv"}, "Did you mean 'private'"),
        ({"templates": ["a touch"]}, "holds {} exactly once"),
        ({"ways": ["zero-shot"]}, "one modality of kind 'text'"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_protocol(run, pairs, "touch-and-go", settings=settings, progress=False)
    bare = pack([{k: v for k, v in row.items() if k != "label"} for row in rows], "bare")
    with pytest.raises(DataError, match="material: 0 samples of rough/test are labelled, and 5 are needed: choose"):
        evaluate_protocol(run, bare, "touch-and-go", settings={"split": "rough/test"}, progress=False)
    with pytest.raises(DataError, match="label none of material, hardness, roughness"):
        evaluate_protocol(run, bare, "touch-and-go", progress=False)
    for row in rows:
        row["label"] = {"material": "stone"}
    with pytest.raises(DataError, match="label 'stone' is none of the 20 classes"):
        evaluate_protocol(run, pack(rows, "stone"), "touch-and-go", progress=False)


def test_shards_as_they_are_converted(tmp_path: Path) -> None:
    """The published folder, converted, and measured by an untrained run that reads images."""
    home, lists = tmp_path / "touch_and_go", {"train": [], "test": [], "train_rough": [], "test_rough": []}
    for number in range(20):
        for frame in range(3):
            name = f"2022051{number % 10}_11111{number:02d}/{frame:010d}.jpg"
            for place, side in enumerate(("video_frame", "gelsight_frame")):
                recording, file = name.split("/")
                picture(home / "dataset" / recording / side / file, 100 * number + 10 * frame + place)
            lists["test" if frame == 2 else "train"].append(f"{name},{(3, 4, 7)[number % 3]}")
            lists["test_rough" if number > 15 else "train_rough"].append(f"{name},{number % 2}")
    for name, lines in lists.items():
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n")
    convert("touch-and-go", home, tmp_path / "shards")
    eye = ModalityConfig("touch_cnn", {"size": 16, "width": 16, "channels": 4})
    edges = (EdgeConfig(("touch", "image"), "shards"),)
    config = AlignConfig({"touch": eye, "image": eye}, edges, out=str(tmp_path / "run"))
    run = AlignRun(tmp_path / "run", replace(config, data=DataConfig(root=str(tmp_path))), build_aligner(config).eval())
    found = evaluate_protocol(run, tmp_path / "shards", "touch-and-go", progress=False)
    sizes = {(m.name.split(",")[0], m.split): m.score.n for m in found.scores if m.split_set == "official"}
    assert sizes == {("material", "test"): 20, ("hardness", "test"): 20, ("roughness", "rough/test"): 12}
    assert {m.split_set for m in found.scores} == {"official", "leakage-free"}
    official = one(found, "material, linear probe", "accuracy", "test")
    assert official.overlap == {"trained_on": ["train"], "samples": 0, "groups": 20}  # its frames are drawn at random
    free = one(found, "material, linear probe", "accuracy", "by_recording/test")
    assert free.train_split == "by_recording/train"
    assert found.pairs["source"] == "https://github.com/fredfyyang/Touch-and-Go (arXiv:2211.12498)"
