"""What a run refuses before it loads or trains: words that the base lacks, sensors nobody shows, splits nobody has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage_two import IMAGE, PAIRS, TOUCH, settings, short_run

from conftest import recorded_as
from pairalign.core.errors import ConfigError, DataError, PairalignError, SignalError
from pairalign.data.encode import ImageFormat
from pairalign.data.pack import pack_pairs
from pairalign.data.world import World
from pairalign.demo.base import build_tokenizer
from pairalign.finetune import run as stage_two
from pairalign.finetune.check import check_tasks, check_words
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.run import plan_recompose
from pairalign.finetune.tasks import Task

GRIP = {"shards": "grip", "prompt": "{touch} {question}", "answer": "{answer}"}


def rows(answers: list[str], question: str = "is it soft?") -> Iterator[dict[str, Any]]:
    for n, answer in enumerate(answers):
        touch = World(seed=3).sample(n, None, ("touch",))["touch"]
        yield {"key": f"k{n}", "touch": touch, "question": question, "answer": answer, "split": "train"}


def pack(folder: Path, answers: list[str], question: str = "is it soft?") -> dict[str, Any]:
    fields = ["touch", "question", "answer"]
    pack_pairs(rows(answers, question), folder, modalities=fields, image=ImageFormat("png"), progress=False)
    return {**GRIP, "shards": str(folder)}


@pytest.mark.parametrize("part", ["tasks", "validation", "held_out"])
def test_answers_that_the_base_has_no_words_for_are_named(setup: Path, tmp_path: Path, part: str) -> None:
    grip = pack(tmp_path / "grip", ["soft", "hard", "slippery", "rather squashy"])
    config = settings(setup, tmp_path / "run", **{part: {"touch": TOUCH, "grip": grip}})
    message = rf"{part}: task 'grip', sample 'k2': the base does not know 'slippery' of the answer .*, nor .*'squashy'"
    starts = [plan_recompose, stage_two.recompose_mllm] if part == "tasks" else [plan_recompose]
    for start in starts:
        with pytest.raises(ConfigError, match=message):
            start(config)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_words_are_looked_for_as_far_as_the_limit_alone(setup: Path, tmp_path: Path) -> None:
    grip = {**pack(tmp_path / "grip", ["soft", "hard", "slippery"]), "limit": 2}
    check_words(check_tasks(settings(setup, tmp_path, tasks={"grip": grip})), build_tokenizer())


@pytest.mark.parametrize(
    ("change", "question", "message"),
    [
        ({"answer": "it is {answer} <image>"}, "is it soft?", r"the answer 'it is soft <image>' spells '<image>'"),
        ({"answer": "{touch}"}, "is it soft?", r"task 'grip': answer='\{touch\}': field 'touch' is png, and no text"),
    ],
)
def test_other_texts_too(setup: Path, tmp_path: Path, change: dict[str, Any], question: str, message: str) -> None:
    grip = {**pack(tmp_path / "grip", ["soft", "hard"], question), **change}
    config = settings(setup, tmp_path, tasks={"grip": grip})
    with pytest.raises(ConfigError, match=message):
        check_words(check_tasks(config), build_tokenizer())


@pytest.mark.parametrize(
    ("change", "question", "message"),
    [
        ({"prompt": "{touch} Will it slip?"}, "x", r"sample 'k0': .*'Will', 'slip' of the prompt 'Will it slip\?'"),
        ({}, "will it be soft?", r"does not know 'will', 'be' of the prompt 'will it be soft\?': it reads them as"),
    ],
)
def test_prompts_that_the_base_has_no_words_for_are_told(
    setup: Path, tmp_path: Path, change: dict[str, Any], question: str, message: str
) -> None:
    grip = {**pack(tmp_path / "grip", ["soft", "hard"], question), **change}
    with pytest.warns(UserWarning, match=message):
        check_words(check_tasks(settings(setup, tmp_path, tasks={"grip": grip})), build_tokenizer())


@pytest.mark.parametrize("part", ["tasks", "validation", "held_out"])
@pytest.mark.parametrize("word", ["<image>", "<|touch|>", "</s>"])
def test_a_question_that_spells_a_reserved_word_is_named_before_training(
    setup: Path, tmp_path: Path, part: str, word: str
) -> None:
    grip = pack(tmp_path / "grip", ["soft", "hard"], f"is {word} soft?")
    config = settings(setup, tmp_path / "run", **{part: {"touch": TOUCH, "grip": grip}})
    message = rf"{part}: task 'grip', sample 'k0': the prompt 'is {word} soft\?' spells '{word}'.* in train-000000.tar"
    message = message.replace("|", r"\|")
    for start in (plan_recompose, stage_two.recompose_mllm):
        with pytest.raises(ConfigError, match=message):
            start(config)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("memory", [2.0, 0.0])
@pytest.mark.parametrize("field", ["question", "answer"])
def test_a_sample_that_spells_a_reserved_word_may_be_left_out_by_name(
    setup: Path, tmp_path: Path, field: str, memory: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """As any other damaged sample: named once, counted, never trained on, and too many of them end the run."""
    spelt = {"question": "is <image> it ?", "answer": "soft <|touch|>"}[field]
    lines = [{**row, field: spelt} if n in (1, 6) else row for n, row in enumerate(rows(["soft", "hard"] * 4))]
    fields = ["touch", "question", "answer"]
    pack_pairs(lines, tmp_path / "grip", modalities=fields, image=ImageFormat("png"), progress=False)
    tasks = {"grip": {**GRIP, "shards": str(tmp_path / "grip")}}
    train = {"steps": 4, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "memory": memory, "bad_fraction": 0.02}
    changes: dict[str, Any] = {"tasks": tasks, "method": "bridge", "validation": {}, "held_out": {}}
    run = short_run(setup, tmp_path / "run", **changes, train=train)
    told = capfd.readouterr().err
    for key in ("k1", "k6"):
        assert told.count(f"damaged sample left out: grip {key}: ") == 1
    assert f"spells '{spelt.split()[1]}'" in told
    assert run.results["asked"]["grip"]["prompt"] == "{touch} is it soft?"
    with pytest.raises(DataError, match=r"task 'grip': 2 of 8 samples are damaged, more than train.bad_fraction=0.01"):
        short_run(setup, tmp_path / "other", **changes, train={**train, "bad_fraction": 0.01})
    with pytest.raises(ConfigError, match=r"sample 'k\d': the (prompt|answer) .* spells .* It is in train-000000.tar"):
        short_run(setup, tmp_path / "third", **changes, train={**train, "bad_fraction": 0})


def test_a_field_that_a_question_spells_is_plain_text(setup: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grip"
    pack(folder, ["soft", "hard"], "what is {touch} ?")
    task = Task("grip", TaskConfig(**{**GRIP, "shards": str(folder), "split": "train"}), "", ["touch"])
    parts = next(iter(task.read())).parts
    assert [part["type"] for part in parts] == ["touch", "text"]
    assert parts[1]["text"] == " what is {touch} ?"


def test_an_answer_that_is_empty_is_named(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing refuses it; shards of another writer may hold it."""
    monkeypatch.setattr(Task, "references", lambda self, sample: ["" if sample.key == "k1" else "soft"])
    config = settings(setup, tmp_path, tasks={"grip": pack(tmp_path / "grip", ["soft", "hard"])})
    with pytest.raises(ConfigError, match=r"tasks: task 'grip', sample 'k1': its answer is empty"):
        check_words(check_tasks(config), build_tokenizer())


def test_case_and_blanks_are_the_tokenizers_matter(setup: Path, tmp_path: Path) -> None:
    config = settings(setup, tmp_path, tasks={"grip": pack(tmp_path / "grip", ["Soft", "soft ,  hard"])})
    check_words(check_tasks(config), build_tokenizer())


def byte_tokenizer() -> Any:
    """Knows every byte, as those of large models do; its unknown token is its end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made, end = Tokenizer(models.BPE()), "<|end|>"
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, special_tokens=[end], show_progress=False)
    made.train_from_iterator(["is it soft? it is soft and hard."] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, unk_token=end, pad_token=end)


def test_a_base_that_reads_bytes_knows_every_word(setup: Path, tmp_path: Path) -> None:
    answers = ["slippery", "It's café ☕ 软", "12.5 N,  or\nless", '"quoted"']
    known = check_tasks(settings(setup, tmp_path, tasks={"grip": pack(tmp_path / "grip", answers, "Ça va?")}))
    check_words(known, byte_tokenizer())
    ends = check_tasks(settings(setup, tmp_path, tasks={"grip": {**GRIP, "answer": "yes<|end|>", **place(tmp_path)}}))
    with pytest.raises(ConfigError, match=r"the answer 'yes<\|end\|>' spells '<\|end\|>'"):
        check_words(ends, byte_tokenizer())


def place(folder: Path) -> dict[str, str]:
    return {"shards": str(folder / "grip")}


@pytest.mark.parametrize("part", ["tasks", "validation", "held_out", "calibration"])
def test_a_split_that_is_not_there_is_refused_before_anything_loads(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("pairalign.finetune.prepare.assemble", lambda *of, **how: pytest.fail("a base was loaded"))
    message = rf"{part}: task 'it': split='vall': .*touch' has no split 'vall'\. Did you mean 'val'\?"
    config = settings(setup, tmp_path / "run", **{part: {"it": {**TOUCH, "split": "vall"}}})
    for start in (stage_two.recompose_mllm, plan_recompose):
        with pytest.raises(ConfigError, match=message):
            start(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tasks": {"image": IMAGE}},
            r"sensors.touch: no training task shows this sensor \(image: '\{image\} \{question",
        ),
        ({"tasks": {"touch": {**TOUCH, "weight": 0}, "image": IMAGE}}, r"sensors.touch: no training task shows"),
        ({"tasks": {"pairs": {**PAIRS, "prompt": "{question}"}}}, r"sensors.touch: no training task shows"),
        (
            {"sensors": {"touch": {"run": "demo/run"}, "points": {"run": "demo/run"}}},
            r"sensors.points: no training task shows this sensor .*put a field such as \{points\} into a prompt",
        ),
        ({"tasks": {str(n): TOUCH for n in range(9)}}, r"batch_size=8 has no place for each of 9 tasks"),
        ({"scores": "nowhere.safetensors"}, r"scores 'nowhere.safetensors' is no file"),
        ({"calibration_size": 1000}, r"has 48 samples, calibration_size=1000"),
    ],
)
def test_what_no_run_could_use_is_refused_before_anything_loads(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("pairalign.finetune.prepare.assemble", lambda *of, **how: pytest.fail("a base was loaded"))
    with pytest.raises(PairalignError, match=message):
        plan_recompose(settings(setup, tmp_path / "run", **changes))


def test_rehearsal_may_leave_the_sensor_out(setup: Path, tmp_path: Path) -> None:
    check_tasks(settings(setup, tmp_path, tasks={"touch": TOUCH, "image": IMAGE}))


def test_a_limit_holds_in_training(setup: Path, tmp_path: Path) -> None:
    """Kept in memory, where it raised IndexError, and streamed."""
    for memory in (2.0, 0):
        train = {"steps": 4, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "memory": memory}
        run = short_run(setup, tmp_path / str(memory), tasks={"touch": {**TOUCH, "limit": 5}}, train=train)
        assert run.results["trained"] > 0
    with pytest.raises(DataError, match=r"calibration.pictures: .* has 5 samples, calibration_size=16"):
        check_tasks(settings(setup, tmp_path, calibration={"pictures": {**IMAGE, "limit": 5}}))


@pytest.mark.parametrize("part", ["tasks", "held_out"])
def test_a_field_of_another_unit_than_its_sensor_declares_is_refused(setup: Path, tmp_path: Path, part: str) -> None:
    wrong = recorded_as(setup / TOUCH["shards"], tmp_path / "wrong", "touch", unit="kPa")
    config = settings(setup, tmp_path / "run", **{part: {"grip": {**TOUCH, "shards": str(wrong)}, "touch": TOUCH}})
    with pytest.raises(SignalError, match=rf"{part}: task 'grip', field 'touch' .* records unit 'kPa'.* declares '1'"):
        plan_recompose(config)
