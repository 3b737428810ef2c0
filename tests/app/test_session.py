"""What the page to try a pack does: answers as `ask` gives them, with other signals beside, what is near, and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_two import short_run

import pairalign as pa
from pairalign.app.examples import read_examples
from pairalign.app.picture import picture_of, told
from pairalign.app.session import Session
from pairalign.cli.main import main
from pairalign.cli.try_pack import questions_of
from pairalign.core.errors import DataError, SignalError
from pairalign.core.types import Signal
from pairalign.sensors.answer import ask_model

ASKED = "what is its surface like?"


@pytest.fixture(scope="module")
def pack(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    run = short_run(setup, folder / "run", dormant={"score": "magnitude", "structure": "rows", "density": 0.2})
    return pa.export_pack(run, folder / "touch")


@pytest.fixture(scope="module")
def session(setup: Path, pack: Path) -> Session:
    model, processor = pa.load_sensor_model(str(setup / "base"), [pack])
    pool = setup / "demo" / "pairs" / "pool"
    examples = read_examples(model, processor, pool, "test", 5)
    return Session(model, processor, examples, pa.load_aligned(setup / "demo" / "run"), tokens=4)


def test_the_field_of_the_sensors_name_gives_the_examples(session: Session) -> None:
    assert [one.name for one in session.examples["touch"]] == [f"touch {n}" for n in range(1, 6)]
    assert session.examples["touch"][0].sensed.shared.ndim == 1


def test_an_answer_is_written_out_as_it_is_asked(session: Session) -> None:
    touch = session.examples["touch"][0].value
    signals: dict[str, Any] = {"touch": touch}
    said = ask_model(session.model, session.processor, ASKED, signals={"touch": [touch]}, tokens=4)
    parts = list(session.stream(ASKED, signals))
    assert parts[-1] == (said.text or said.silence)
    if said.text:
        assert all(said.text.startswith(part) for part in parts)
        assert len(parts) > 1
    with pytest.raises(DataError, match=r"has more \{touch\} than were given"):
        next(session.stream("{touch} is it soft?", {}))


def test_an_error_while_it_generates_is_not_a_page_that_waits(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(session.model.llm), "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(session.stream(ASKED, {}))


def test_the_same_question_with_other_signals(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    known = session.examples["touch"]
    asked: list[Any] = []

    def ask(question: str, signals: dict[str, Any], image: Any) -> str:
        asked.append(signals.get("touch"))
        return "soft" if len(asked) < 3 else "hard"

    monkeypatch.setattr(session, "_ask", ask)
    found = session.compare(ASKED, {"touch": known[0].value})
    assert [(one.signal, one.same) for one in found] == [
        ("as given", None), ("touch: blank", True), ("touch: another's", False), ("no signal", False)
    ]  # fmt: skip
    shared = [one.sensed.shared / one.sensed.shared.norm() for one in known]
    least = min(range(5), key=lambda n: float(shared[0] @ shared[n]))
    assert asked[2] is known[least].sensed
    assert not asked[1].shared.equal(known[0].sensed.shared)
    assert asked[3] is None
    asked.clear()
    assert len(session.compare("{touch} is it?", {"touch": known[0].value})) == 3  # which cannot be asked without
    with pytest.raises(DataError, match="there is no signal to change"):
        session.compare(ASKED, {})


def test_a_signal_is_nearest_to_itself(session: Session) -> None:
    near = session.nearest("touch", session.examples["touch"][2].value, count=3)
    assert near[0].example.name == "touch 3"
    assert near[0].cosine == pytest.approx(1, abs=1e-5)
    assert [one.cosine for one in near] == sorted((one.cosine for one in near), reverse=True)
    assert Session(session.model, session.processor).nearest("touch", near[0].example.value) == []


def test_words_are_those_of_the_run(session: Session) -> None:
    value = session.examples["touch"][0].value
    assert session.space is not None
    assert session.words("touch", value, ["rough", "smooth"]) == session.space.classify(
        "touch", value, ["rough", "smooth"]
    )
    with pytest.raises(DataError, match="--run RUN"):
        Session(session.model, session.processor).words("touch", value, ["rough", "smooth"])


def test_what_is_no_signal_is_said(session: Session) -> None:
    with pytest.raises(SignalError):
        session.features("touch", np.full((3, 7), np.nan, np.float32))


def test_shards_without_any_of_its_signals_are_refused(session: Session, setup: Path) -> None:
    with pytest.raises(DataError, match="holds no signal of these packs"):
        read_examples(session.model, session.processor, setup / "demo" / "pairs" / "text-points", "train")


def test_what_the_pack_was_taught_is_what_it_starts_from(pack: Path, tmp_path: Path) -> None:
    assert len(questions_of([pack])) == 1  # the other task shows two signals
    assert questions_of([tmp_path]) == []


def test_a_picture_and_a_sentence_of_every_kind() -> None:
    for kind, shape in (("image", (8, 8, 3)), ("points", (20, 3)), ("series", (2, 30)), ("vector", (5,))):
        signal, value = Signal(kind, shape, unit="kPa"), np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
        assert min(picture_of(signal, value).size) > 50
        assert told("glove", signal, value) == f"glove: {kind}, {' × '.join(map(str, shape))} in kPa, from 0 to 1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", "0"], "tokens=0"),
        (["--pairs", "nowhere"], "nowhere"),
        (["--pairs", "POOL", "--split", "tset"], "has no split 'tset'"),
        (["--run", "nowhere"], "nowhere"),
    ],
)
def test_wrong_arguments_are_one_line(
    pack: Path, setup: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [str(setup / "demo" / "pairs" / "pool") if word == "POOL" else word for word in words]
    assert main(["try", str(pack), "--base", str(setup / "base"), *told]) == 2
    assert message in capsys.readouterr().err


def test_without_gradio_it_says_what_to_install(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pairalign.cli.try_pack.find_spec", lambda name: None)
    assert main(["try", str(pack)]) == 2
    assert "pip install 'pairalign[app]'" in capsys.readouterr().err
