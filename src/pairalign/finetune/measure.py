"""How well a model answers: exact answers by kind, free answers, loss, drift from the base, and the answer-bias probe.

Note:
    An exact answer counts if greedy decoding would say just it, so that a missing full stop is a wrong answer; a free
    answer counts if the right words are in it. All but the free answers are read along the right answers, in one pass;
    the probe's source (arXiv:2510.08564) reads it along what the model says instead, which is the same where that is
    the right answer. Every process measures its share, and all get the scores of the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.evaluate.forgetting import answer_mass
from pairalign.evaluate.intervals import Score, wilson
from pairalign.finetune.base_answers import BaseAnswers
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.questions import Questions
from pairalign.runtime import Runtime
from pairalign.sensors.answer import answer_all
from pairalign.sensors.head import head_in_one_piece
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes
from pairalign.sensors.processor import to_device

ALONE = Runtime()


@dataclass(frozen=True)
class TaskScore:
    """kinds: exact answers by kind, with 95 % intervals, and as chance what a kind's commonest right answer would get
    if given to all. accuracy: their mean. loss: nats per answer token. mass: mean probability of the probe's
    vocabulary along the answers. drift: mean KL from the base in nats, along the answers. contains: free answers that
    have the right words in them; `None` where none was asked for. own_mass: as mass, along what the model says itself.
    """

    kinds: dict[str, Score]
    accuracy: float
    loss: float
    mass: float | None = None
    drift: float | None = None
    contains: Score | None = None
    own_mass: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskScore:
        """What `to_dict` gave."""
        kinds = {kind: Score(**score) for kind, score in values["kinds"].items()}
        contains = values.get("contains")
        return cls(**{**values, "kinds": kinds, "contains": Score(**contains) if contains else None})


@dataclass
class Tally:
    """Sums over the examples of one process. right: exact answers and examples by kind. answers: right ones by kind."""

    right: dict[str, list[int]] = field(default_factory=dict)
    examples: int = 0
    tokens: int = 0
    loss: float = 0.0
    mass: float = 0.0
    drift: float = 0.0
    answers: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in the sums of another."""
        for kind, (hits, count) in other.right.items():
            have = self.right.setdefault(kind, [0, 0])
            self.right[kind] = [have[0] + hits, have[1] + count]
        for kind, counted in other.answers.items():
            self.answers.setdefault(kind, Counter()).update(counted)
        for name in ("examples", "tokens", "loss", "mass", "drift"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def score(self, mass: bool, drift: bool) -> TaskScore:
        """What the sums say; `mass` and `drift` where they were measured."""
        chance = {kind: max(counted.values()) / counted.total() for kind, counted in self.answers.items()}
        kinds = {
            kind: wilson(hits, count, chance=chance.get(kind)) for kind, (hits, count) in sorted(self.right.items())
        }
        return TaskScore(
            kinds,
            sum(score.value for score in kinds.values()) / len(kinds),
            self.loss / self.tokens,
            self.mass / self.examples if mass else None,
            self.drift / self.examples if drift else None,
        )


def answer_words(answers: Iterable[str], tokenizer: Any) -> list[int]:
    """The vocabulary of the answer-bias probe: every token of some answers, without their end."""
    return sorted({token for text in answers for token in tokenizer(text, add_special_tokens=False)["input_ids"]})


def answer_logits(
    model: SensorModel, batch: Batch, llm: nn.Module | None = None, prefixes: Prefixes | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (B, K, V) that predict the last K columns, which hold all answers, and their labels (B, K).

    llm: another language model that reads the same, such as the untouched base. prefixes: read what stands before the
    first signals without a graph, where that can be.
    """
    keep = batch.columns
    found = None if prefixes is None else prefixes.logits(model, batch.inputs, keep + 1, batch.before)
    if found is not None:
        return found[:, :-1], batch.labels[:, -keep:]
    options = {"logits_to_keep": keep + 1} if model.keeps_logits else {}
    inputs = {**batch.inputs, **options}
    with head_in_one_piece(llm or model.llm):
        logits = (model(**inputs) if llm is None else model.run(llm, **inputs)).logits
    return logits[:, -keep - 1 : -1], batch.labels[:, -keep:]


def answer_loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Cross entropy in nats, mean (or "sum") over answer tokens."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction=reduction)


def exact_texts(logits: Tensor, labels: Tensor, tokenizer: Any) -> list[bool]:
    """Whether greedy decoding would say exactly the right text, and then end: (B, K, V), (B, K) → B answers.

    Texts are compared, not tokens; one with a token that the base does not know can not be said.
    """
    said, end = logits.argmax(-1).tolist(), tokenizer.eos_token_id
    found = []
    for words, right in zip(said, labels.tolist(), strict=True):
        places = [n for n, token in enumerate(right) if token != IGNORED]
        ours, theirs = ([row[n] for n in places] for row in (words, right))
        same = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in theirs
        if theirs and theirs[-1] == end:
            same = (ours.pop() == theirs.pop()) and same
        found.append(same and (ours == theirs or _text(ours, tokenizer) == _text(theirs, tokenizer)))
    return found


def _text(tokens: list[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=False)
    return text.strip()


@torch.no_grad()
def measure_task(
    model: SensorModel,
    questions: Questions,
    *,
    vocabulary: Sequence[int] | None = None,
    base: BaseAnswers | None = None,
    runtime: Runtime = ALONE,
) -> TaskScore:
    """Measure a task, in evaluation mode; every process of the run takes part. vocabulary: tokens of the
    answer-bias probe. base: from `remember_base`."""
    model.eval()
    tally, total = Tally(), Tally()
    for first, examples, counts in questions.ask(runtime.rank, runtime.world):
        batch = questions.collate(examples).to(model.device)
        logits, labels = answer_logits(model, batch)
        if not counts:
            continue
        tally.add(_tally(batch, logits, labels, questions.collate.tokenizer))
        for example in examples:
            tally.answers.setdefault(example.kind, Counter())[example.answer] += 1
        if vocabulary is not None:
            tally.mass += float(answer_mass(logits, labels, torch.tensor(vocabulary, device=logits.device)).sum())
        if base is not None:
            tally.drift += float(base.drifts(first, logits, labels != IGNORED).sum())
    for part in runtime.all_gather_object(tally):
        total.add(part)
    return total.score(vocabulary is not None, base is not None)


def _tally(batch: Batch, logits: Tensor, labels: Tensor, tokenizer: Any) -> Tally:
    found = Tally(examples=len(labels), tokens=int((labels != IGNORED).sum()))
    found.loss = float(answer_loss(logits, labels, "sum"))
    for kind, hit in zip(batch.kinds, exact_texts(logits, labels, tokenizer), strict=True):
        hits, count = found.right.setdefault(kind, [0, 0])
        found.right[kind] = [hits + hit, count + 1]
    return found


@torch.no_grad()
def remember_base(model: SensorModel, questions: Questions, runtime: Runtime = ALONE) -> BaseAnswers:
    """What `drift` compares with: the model as it is now; every process of the run takes part and gets all."""
    model.eval()
    parts = []
    for _, examples, counts in questions.ask(runtime.rank, runtime.world):
        logits, labels = answer_logits(model, questions.collate(examples).to(model.device))
        if counts:
            parts.append(BaseAnswers.of(logits, labels != IGNORED))
    return BaseAnswers.join([part for parts in runtime.all_gather_object(parts) for part in parts])


@torch.no_grad()
def free_answers(model: SensorModel, questions: Questions, tokens: int, runtime: Runtime = ALONE) -> Score:
    """The share of greedy answers, at most `tokens` long, that have the right answer's words in them, in order."""
    model.eval()
    right = asked = 0
    for _, examples, counts in questions.ask(runtime.rank, runtime.world):
        prompts = to_device(questions.collate.prompts(examples), model.device)
        said = answer_all(model, questions.collate.processor, prompts, tokens)
        if counts:
            right += sum(has_words(text, example.answer) for text, example in zip(said, examples, strict=True))
            asked += len(examples)
    return wilson(*(sum(part) for part in zip(*runtime.all_gather_object((right, asked)), strict=True)))


def has_words(said: str, right: str) -> bool:
    """Whether the words of an answer stand in a text one after the other, whatever their case and punctuation."""
    theirs, ours = (" ".join(re.findall(r"\w+", text.casefold())) for text in (said, right))
    return f" {ours} " in f" {theirs} " if ours else right.strip() in said
