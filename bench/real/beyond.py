"""What no task of a run can ask: two turns, the form of an answer, running text, and which name a picture's would be.

Talks and forms are asked once as they are, and once with an irrelevant signal before all that the user says last.
Where it bites: of names only the first tokens are compared, and those that share theirs count as one; free answers are
greedy; nats are of text without any question, as it stands. What the untaught base answers is the record of a run of no
steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pairalign.evaluate.intervals import wilson
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.irrelevant import with_signal
from pairalign.finetune.measure import has_words
from pairalign.finetune.tasks import Task
from pairalign.sensors.answer import answer_all
from pairalign.sensors.processor import to_device
from real.lessons import SHOWN_PASSAGES, instructed, passages
from real.talk import TURNS

LONGEST, SIZE, PASSAGES = 24, 8, 64


@torch.no_grad()
def ask_beyond(
    model: Any, processor: Any, sense: str, signals: Sequence[Any], lessons: Path, quick: bool = False
) -> dict[str, Any]:
    """Shares with intervals, and nats a token. signals: of the sense, to put in front, in turn. lessons: shards."""
    model.eval()
    few = 4 if quick else None
    found: dict[str, Any] = {"text, nats": nats(model, processor, 2 if quick else PASSAGES)}
    found["likeliest name"] = likeliest_name(model, processor, lessons, few)
    for how, shown in (("without", ()), ("signal in front", signals)):
        talks = two_turns()[:few]
        said = say_all(model, processor, [talk for talk, _ in talks], sense, shown)
        found[how] = {"two turns": told(said, talks), "form": keeps_form(model, processor, sense, shown, few)}
    return found


def likeliest_name(model: Any, processor: Any, lessons: Path, few: int | None = None) -> dict[str, Any]:
    """The share of held-out pictures whose own name begins likelier than all other names."""
    told = TaskConfig(shards="pictures", prompt="{image} {question}", answer="{answer}", split="test")
    examples, collate = list(Task("pictures", told, lessons, ()).read()), Collator(processor)
    starts = {e.answer: processor.tokenizer(e.answer, add_special_tokens=False)["input_ids"][0] for e in examples}
    ids, hits, asked = torch.tensor(sorted(set(starts.values()))), 0, examples[:few]
    for start in range(0, len(asked), SIZE):
        some = asked[start : start + SIZE]
        last = model(**to_device(collate.prompts(some), model.device)).logits[:, -1]
        found = ids[last[:, ids].argmax(-1).cpu()].tolist()
        hits += sum(one == starts[example.answer] for one, example in zip(found, some, strict=True))
    return vars(wilson(hits, len(asked), chance=1 / len(ids)))


def two_turns() -> list[tuple[list[dict[str, str]], str]]:
    """Talks of two turns, each with a word of the right answer."""
    return [
        ([{"role": "user", "content": said}, {"role": "assistant", "content": answer},
          {"role": "user", "content": asked}], word)
        for said, answer, asked, word in TURNS
    ]  # fmt: skip


def say_all(
    model: Any, processor: Any, talks: Sequence[list[dict[str, str]]], sense: str, signals: Sequence[Any]
) -> list[str]:
    """What the model answers to each; with `signals`, one of them stands before what the user says last."""
    parted = [[{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in talk] for talk in talks]
    for n, talk in enumerate(parted if signals else ()):
        talk[-1]["content"] = with_signal(talk[-1]["content"], sense, signals[n % len(signals)], "before")
    said = []
    for start in range(0, len(parted), SIZE):
        some = parted[start : start + SIZE]
        shown = {sense: [value for talk in some for value in processor.signals_of(talk).get(sense, ())]}
        texts = processor.apply_chat_template(some, add_generation_prompt=True)
        inputs = processor(texts, signals=shown if signals else None, padding=True, padding_side="left")
        said += answer_all(model, processor, inputs, LONGEST)
    return said


def told(said: Sequence[str], right: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    """The share that has the right word."""
    return vars(wilson(sum(has_words(text, word) for text, (_, word) in zip(said, right, strict=True)), len(said)))


def keeps_form(
    model: Any, processor: Any, sense: str, signals: Sequence[Any], few: int | None = None
) -> dict[str, Any]:
    """By form the share of answers that have it."""
    found = {}
    for form in ("word", "sentence"):
        asked = [one["question"] for one in instructed() if one["form"] == form][:few]
        said = say_all(model, processor, [[{"role": "user", "content": one}] for one in asked], sense, signals)
        found[form] = vars(wilson(sum(has_form(text, form) for text in said), len(said)))
    return found


def has_form(text: str, form: str) -> bool:
    """One word; or several that end as a sentence does."""
    words = text.split()
    return len(words) == 1 if form == "word" else len(words) > 2 and text.rstrip()[-1] in ".!?\"'"


def nats(model: Any, processor: Any, count: int) -> dict[str, Any]:
    """Mean loss a token of running text."""
    total = tokens = 0.0
    for text in passages(count, SHOWN_PASSAGES):
        ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
        total += float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
    return {"value": total / tokens, "n": int(tokens)}
