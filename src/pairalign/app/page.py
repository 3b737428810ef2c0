"""The page: a signal dropped or picked, a picture, a chat, what is near, words, and the answer with another signal.

Note: it is served to this machine alone unless a host is named, asks nothing of any other machine, and keeps nothing:
what a browser uploads goes when the page ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from pairalign.app.picture import picture_of, told
from pairalign.app.session import Session
from pairalign.core.errors import DataError, PairalignError
from pairalign.data.decode import read_signal

CSS = """
.gradio-container {max-width: 1200px !important; margin: 0 auto !important}
#signal img {object-fit: contain}
#compared td {overflow-wrap: anywhere; white-space: normal}
@media (max-width: 640px) {.gradio-container, .gradio-container .main {padding: 4px !important}}
"""
FONT = ["system-ui", "sans-serif"]  # nothing is fetched
ABOUT = "Drop a recording, ask, and see whether the model uses it. Each question is asked by itself."
Talk = list[dict[str, Any]]


def theme() -> gr.themes.Base:
    """Light and dark, as the browser asks, in fonts that every machine has."""
    return gr.themes.Soft(font=FONT, font_mono=["ui-monospace", "monospace"])


def build_page(session: Session, title: str, questions: Sequence[str] = ()) -> gr.Blocks:
    """The page of a session.

    Args:
        session: what answers.
        title: what it is called, such as the pack's name.
        questions: that the pack was taught, to start from.
    """
    sensors = sorted(session.processor.sensors, key=lambda name: not session.examples.get(name))
    with gr.Blocks(title=f"{title} · pairalign", analytics_enabled=False) as page:
        gr.Markdown(f"# {title}\n{ABOUT}")
        signals, talk, last = gr.State({}), gr.State([]), gr.State("")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                sensor = gr.Radio(sensors, value=sensors[0], label="sensor", visible=len(sensors) > 1)
                file = gr.File(label="a recording", elem_id="recording", height=120)
                shown = gr.Image(label="the signal", interactive=False, elem_id="signal", buttons=[], height=240)
                about = gr.Markdown("No signal yet.", elem_id="about")
                clear = gr.Button("take the signals away", size="sm")
                image = gr.Image(label="a picture beside it, if you like", type="pil", height=160, sources=["upload"])
                examples = gr.Gallery(
                    value=_gallery(session, sensors[0]),
                    label="examples: pick one",
                    columns=2,
                    height=220,
                    allow_preview=False,
                    interactive=False,
                    visible=bool(session.examples.get(sensors[0])),
                    elem_id="examples",
                    buttons=[],
                )
            with gr.Column(scale=3, min_width=300):
                chat = gr.Chatbot(label="chat", height=340, buttons=["copy"], elem_id="chat")
                question = gr.Textbox(
                    label="question", placeholder="how does it feel?", elem_id="question", submit_btn=True
                )
                with gr.Row():
                    asked = [gr.Button(text, size="sm", min_width=120) for text in questions]
                compare = gr.Button("does the model use the signal?", elem_id="compare", interactive=False)
                compared = gr.Markdown(elem_id="compared")
                near = gr.Gallery(
                    label="nearest examples in the space",
                    columns=2,
                    height=240,
                    allow_preview=False,
                    interactive=False,
                    visible=bool(session.examples),
                    elem_id="near",
                    buttons=[],
                )
                known = session.space is not None
                words = gr.Textbox(
                    label="words, with commas between",
                    placeholder="wood, metal, cloth",
                    visible=known,
                    elem_id="words",
                    submit_btn=True,
                )
                label = "how probable each is, of these alone"
                chances = gr.Label(label=label, visible=known, elem_id="chances")

        set_signal = [signals, shown, about, near]
        file.upload(_file(session), [sensor, file, signals], set_signal)
        examples.select(_pick(session), [sensor, signals], set_signal)
        clear.click(lambda: ({}, None, "No signal yet.", None, None), None, [*set_signal, file])
        sensor.change(
            lambda name: gr.Gallery(value=_gallery(session, name), visible=bool(session.examples.get(name))),
            sensor,
            examples,
        )
        for button in asked:
            button.click(lambda text=button.value: text, None, question)
        question.submit(_ask(session), [question, signals, image, talk], [chat, talk, last, question, compare])
        chat.clear(lambda: ([], "", gr.Button(interactive=False)), None, [talk, last, compare])
        compare.click(_compare(session), [signals, image, last], compared)
        words.submit(_words(session), [sensor, words, signals], chances)
    page.queue()
    return page


def _gallery(session: Session, sensor: str) -> list[tuple[Any, str]]:
    signal = session.processor.sensors[sensor].encoder.signal
    return [(picture_of(signal, one.value), one.name) for one in session.examples.get(sensor, ())]


def _told(work: Callable[..., Any]) -> Callable[..., Any]:
    """An error of ours as a note on the page, in one sentence."""

    @wraps(work)
    def wrapped(*given: Any) -> Any:
        try:
            return work(*given)
        except PairalignError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None

    return wrapped


def _set(session: Session, sensor: str, value: Any, signals: dict[str, Any]) -> tuple[Any, ...]:
    signal, near = session.processor.sensors[sensor].encoder.signal, session.nearest(sensor, value)
    found = [(picture_of(signal, one.example.value), f"{one.example.name}: {one.cosine:.2f}") for one in near]
    return {**signals, sensor: value}, picture_of(signal, value), told(sensor, signal, value), found


def _file(session: Session) -> Callable[..., Any]:
    @_told
    def work(sensor: str, file: str, signals: dict[str, Any]) -> tuple[Any, ...]:
        try:
            value = read_signal(file)
            session.features(sensor, value)  # says what is wrong with it, now
        except PairalignError as error:
            raise DataError(f"{Path(file).name} is no signal of {sensor!r}: {error}") from error
        return _set(session, sensor, value, signals)

    return work


def _pick(session: Session) -> Callable[..., Any]:
    def work(sensor: str, signals: dict[str, Any], event: gr.SelectData) -> tuple[Any, ...]:
        return _told(_set)(session, sensor, session.examples[sensor][event.index].value, signals)

    return work


def _ask(session: Session) -> Callable[..., Any]:
    def work(question: str, signals: dict[str, Any], image: Any, talk: Talk) -> Iterator[tuple[Any, ...]]:
        if not question.strip():
            raise gr.Error("Ask something first.", duration=5, print_exception=False)
        with_it = ", ".join([*signals, *["a picture"] * (image is not None)])
        said = [*talk, {"role": "user", "content": question + (f"\n\n*with {with_it}*" if with_it else "")}]
        try:
            for text in session.stream(question, signals, image):
                whole = [*said, {"role": "assistant", "content": text}]
                yield whole, whole, question, "", gr.Button(interactive=False)
        except PairalignError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None
        yield whole, whole, question, "", gr.Button(interactive=bool(signals))

    return work


def _compare(session: Session) -> Callable[..., Any]:
    @_told
    def work(signals: dict[str, Any], image: Any, question: str) -> str:
        found = session.compare(question, signals, image)
        word = {None: "", True: "yes", False: "no"}
        rows = [(one.signal, one.answer.replace("|", "\\|").replace("\n", " "), word[one.same]) for one in found]
        lines = [f"| {' | '.join(row)} |" for row in (("signal", "answer", "the same?"), ("---",) * 3, *rows)]
        return "\n".join([f"**{question}**, asked again", "", *lines])

    return work


def _words(session: Session) -> Callable[..., Any]:
    @_told
    def work(sensor: str, words: str, signals: dict[str, Any]) -> dict[str, float]:
        if sensor not in signals:
            raise gr.Error("Drop or pick a signal first.", duration=5, print_exception=False)
        return session.words(sensor, signals[sensor], [one.strip() for one in words.split(",") if one.strip()])

    return work
