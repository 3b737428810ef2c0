"""What no task of a run can ask: two turns, the form of an answer, running text, and which name a picture's would be.

Each is asked as it is, and with an irrelevant signal before or behind what the user says last. Of running text half
stands "behind" a signal in its middle; nats are of that half too, so that they compare.

Note:
    Of names only the first tokens are compared, and those that share theirs count as one; free answers are greedy; nats
    are of text without any question, as it stands. What the untaught base answers is the record of a run of no steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from pairalign.evaluate.intervals import wilson
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.irrelevant import Position, with_signal
from pairalign.finetune.measure import has_words
from pairalign.finetune.tasks import Task
from pairalign.sensors.answer import answer_all
from pairalign.sensors.processor import to_device
from real.lessons import SHOWN_PASSAGES, instructed, passages
from real.talk import TURNS

LONGEST, SIZE, PASSAGES = 24, 8, 64
HOWS: dict[str, Position | None] = {"without": None, "signal in front": "before", "signal behind": "behind"}


class Put(NamedTuple):
    """Where a signal of `signals`, in turn, is put into what is said; nowhere without any."""

    sense: str
    signals: Sequence[Any]
    position: Position

    def __call__(self, parts: Sequence[dict[str, Any]], place: int) -> list[dict[str, Any]]:
        """The parts of a message with the signal of its place."""
        if not self.signals:
            return list(parts)
        return with_signal(parts, self.sense, self.signals[place % len(self.signals)], self.position)


@torch.no_grad()
def ask_beyond(
    model: Any, processor: Any, sense: str, signals: Sequence[Any], lessons: Path, quick: bool = False
) -> dict[str, Any]:
    """Shares with intervals, and nats a token. signals: of the sense, to put in front or behind, in turn. lessons:
    shards."""
    model.eval()
    few = 2 if quick else None
    found: dict[str, Any] = {}
    for how in HOWS:
        put = Put(sense, signals if HOWS[how] else (), HOWS[how] or "before")
        talks = two_turns()[:few]
        said = say_all(model, processor, [talk for talk, _ in talks], put)
        found[how] = {
            "likeliest name": likeliest_name(model, processor, lessons, put, few),
            "two turns": told(said, talks),
            "form": keeps_form(model, processor, put, few),
            "text, nats": nats(model, processor, put, 2 if quick else PASSAGES),
        }
    return found


def likeliest_name(model: Any, processor: Any, lessons: Path, put: Put, few: int | None = None) -> dict[str, Any]:
    """The share of held-out pictures whose own name begins likelier than all other names."""
    told = TaskConfig(shards="pictures", prompt="{image} {question}", answer="{answer}", split="test")
    examples, collate = list(Task("pictures", told, lessons, ()).read()), Collator(processor)
    starts = {e.answer: processor.tokenizer(e.answer, add_special_tokens=False)["input_ids"][0] for e in examples}
    asked = [example._replace(parts=put(example.parts, n)) for n, example in enumerate(examples[:few])]
    ids, hits = torch.tensor(sorted(set(starts.values()))), 0
    for start in range(0, len(asked), SIZE):
        some = asked[start : start + SIZE]
        options = {"logits_to_keep": 1} if model.keeps_logits else {}
        last = model(**to_device(collate.prompts(some), model.device), **options).logits[:, -1]
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


def say_all(model: Any, processor: Any, talks: Sequence[list[dict[str, str]]], put: Put) -> list[str]:
    """What the model answers to each, with a signal in what the user says last."""
    parted: list[Any] = [
        [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in talk] for talk in talks
    ]
    for n, talk in enumerate(parted):
        talk[-1]["content"] = put(talk[-1]["content"], n)
    said = []
    for start in range(0, len(parted), SIZE):
        some = parted[start : start + SIZE]
        shown = {put.sense: [value for talk in some for value in processor.signals_of(talk).get(put.sense, ())]}
        texts = processor.apply_chat_template(some, add_generation_prompt=True)
        inputs = processor(texts, signals=shown if put.signals else None, padding=True, padding_side="left")
        said += answer_all(model, processor, inputs, LONGEST)
    return said


def told(said: Sequence[str], right: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    """The share that has the right word."""
    return vars(wilson(sum(has_words(text, word) for text, (_, word) in zip(said, right, strict=True)), len(said)))


def keeps_form(model: Any, processor: Any, put: Put, few: int | None = None) -> dict[str, Any]:
    """By form the share of answers that have it."""
    found = {}
    for form in ("word", "sentence"):
        asked = [one["question"] for one in instructed() if one["form"] == form][:few]
        said = say_all(model, processor, [[{"role": "user", "content": one}] for one in asked], put)
        found[form] = vars(wilson(sum(has_form(text, form) for text in said), len(said)))
    return found


def has_form(text: str, form: str) -> bool:
    """One word; or several that end as a sentence does."""
    words = text.split()
    return len(words) == 1 if form == "word" else len(words) > 2 and text.rstrip()[-1] in ".!?\"'"


@torch.no_grad()
def nats(model: Any, processor: Any, put: Put, count: int) -> dict[str, Any]:
    """Mean loss a token of running text: of all of it, and of its second half, before which a signal may stand."""
    tokenizer, token = processor.tokenizer, processor.placeholders[put.sense]
    length, losses = processor.sensors[put.sense].length, []
    for n, text in enumerate(passages(count, SHOWN_PASSAGES)):
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        own = torch.ones_like(ids, dtype=torch.bool)
        at = len(ids[0]) // 2 if put.position == "behind" else 0
        options = {}
        if put.signals:
            shown = torch.full((1, length), token)
            ids = torch.cat([ids[:, :at], shown, ids[:, at:]], 1)
            own = torch.cat([own[:, :at], torch.zeros_like(shown, dtype=torch.bool), own[:, at:]], 1)
            options["signals"] = processor.read({put.sense: [put.signals[n % len(put.signals)]]})
        options = to_device({"input_ids": ids, "attention_mask": torch.ones_like(ids), **options}, model.device)
        logits, asked = model(**options).logits[0, :-1].float().cpu(), own[0, 1:]
        lost = F.cross_entropy(logits[asked], ids[0, 1:][asked], reduction="none")
        losses.append(lost[1 - int(own.sum()) :])  # the first token has something before it in front alone
    half = torch.cat([loss[(len(loss) + 1) // 2 :] for loss in losses])
    return {"value": float(torch.cat(losses).mean()), "second half": float(half.mean()), "n": sum(map(len, losses))}
