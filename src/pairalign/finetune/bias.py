"""The answer-bias probe: how much probability a model gives to a set of words, whatever it is asked.

    mean over samples of the mean over an answer's places of Σ p(token), token in the set

Teaching one kind of answer raises it everywhere; on held-out tasks that is a shift towards the new skill. Source:
arXiv:2510.08564, whose set is numbers, after lessons in counting, and which reads it along the model's own greedy
words, the end token's place included (`own_mass`). Along the right answers it is a by-product of every measurement.

Note:
    Words that many answers share, such as "the", are part of the set where it is made of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from pairalign.core.errors import ConfigError
from pairalign.evaluate.forgetting import masked_mean
from pairalign.finetune.config import ProbeConfig
from pairalign.finetune.measure import ALONE, answer_words
from pairalign.finetune.questions import Questions
from pairalign.runtime import Runtime
from pairalign.sensors.answer import GREEDY, ends_of
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import to_device

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_MORE = "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
_NTH = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth thousandth"
)
_WORDS = "|".join(f"{_ONES} {_MORE} {_NTH}".split())
NUMBER = re.compile(rf"\d+([.,]\d+)?|\d+(st|nd|rd|th)|{_WORDS}", re.IGNORECASE | re.ASCII)
"""A superset of the source's program, which has no ordinals in words, and no number word behind a byte-level space."""


def probe_tokens(probe: ProbeConfig, answers: Iterable[str], tokenizer: Any) -> list[int]:
    """The set of tokens; raise `ConfigError` where the base knows none of the words."""
    if probe.words == "answers":
        return answer_words(answers, tokenizer)
    if probe.words == "numbers":
        found = [n for n in range(len(tokenizer)) if NUMBER.fullmatch(tokenizer.decode([n]).strip())]
    else:
        spaced = [text for word in probe.words for text in (word, f" {word}")]  # many tokenizers tell them apart
        found = [n for n in answer_words(spaced, tokenizer) if n != tokenizer.unk_token_id]
    if not found:
        raise ConfigError(f"probe.words={probe.words!r}: the base has no token for any of them: give other words.")
    return found


@torch.no_grad()
def own_mass(
    model: SensorModel, questions: Questions, vocabulary: Sequence[int], tokens: int, runtime: Runtime = ALONE
) -> float:
    """The probe along the model's own greedy answers, at most `tokens` long; every process of the run takes part."""
    model.eval()
    mass, asked = 0.0, 0
    processor = questions.collate.processor
    ends = ends_of(model, processor)
    stops = torch.tensor(_stops(model, ends), device=model.device)
    kept = torch.tensor(vocabulary, device=model.device)
    for _, examples, counts in questions.ask(runtime.rank, runtime.world):
        prompts = to_device(questions.collate.prompts(examples), model.device)
        told = {**GREEDY, **ends, "return_dict_in_generate": True, "output_logits": True}
        out: Any = model.generate(**prompts, max_new_tokens=tokens, **told)
        if counts:
            logits = torch.stack(out.logits, 1)
            said = out.sequences[:, -logits.shape[1] :]
            over = (
                torch.isin(said, stops.to(said.device)).int().cumsum(1) - torch.isin(said, stops.to(said.device)).int()
            )
            share = logits.float().softmax(-1)[..., kept].sum(-1)
            mass, asked = mass + float(masked_mean(share, over == 0).sum()), asked + len(examples)
    both = [sum(part) for part in zip(*runtime.all_gather_object((mass, asked)), strict=True)]
    return both[0] / both[1]


def _stops(model: SensorModel, ends: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer in `generate`."""
    own = ends.get("eos_token_id", getattr(getattr(model.llm, "generation_config", None), "eos_token_id", None))
    return [own] if isinstance(own, int) else list(own or [])
