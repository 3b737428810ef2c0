"""A judge's score, 1 to 10, of every description against its reference.

Source: the scale and the comparison with a reference are TVL's (arXiv:2402.13232); the words of `PROMPT` are ours.

Note:
    Scores compare only under the same model, prompt and temperature, all of which the result records; a reply that is
    no score is kept, counted and reported, and no number takes its place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from pairalign.core.errors import DataError
from pairalign.data.kinds import names_touch
from pairalign.evaluate.generation.endpoint import Endpoint
from pairalign.evaluate.generation.lines import appended, read_lines
from pairalign.evaluate.generation.published import spoken_name
from pairalign.evaluate.intervals import Score, bootstrap_mean

PROMPT = """Two descriptions of how the same object feels when it is touched follow. The first is right.

Right: {reference}
To be judged: {answer}

How well does the second agree with the first? Look only at what they say about the touch, not at style, order or
length. 10: it says the same. 5: about half of it agrees. 1: nothing agrees, or it says nothing about touch.
Reply with one line and nothing else:
Score: <a whole number from 1 to 10>"""

ANY = """Two descriptions of what the same {sensor} recording shows follow. The first is right.

Right: {reference}
To be judged: {answer}

How well does the second agree with the first? Look only at what they say about the thing that was recorded, not at
style, order or length. 10: it says the same. 5: about half of it agrees. 1: nothing agrees, or it says nothing of it.
Reply with one line and nothing else:
Score: <a whole number from 1 to 10>"""

_SCORE = re.compile(r"^[^\w.-]*(?:score[^\w.-]*)?(10|[1-9])(?:\s*/\s*10)?[^\w%-]*$", re.IGNORECASE)


class Item(NamedTuple):
    """One description: its key (unique), what was said, and the reference."""

    key: str
    answer: str
    reference: str


@dataclass(frozen=True)
class Judged:
    """score: mean over the replies that were scores, `None` if there is none. unparsable: replies that were not.
    values: score by key, `None` where unparsable. about: model, host, temperature, prompt.
    """

    score: Score | None
    unparsable: int
    values: dict[str, int | None]
    about: dict[str, Any]


def prompt_of(sensor: str) -> str:
    """What the judge is asked of descriptions of a sensor's signals."""
    return PROMPT if names_touch(sensor) else ANY.replace("{sensor}", spoken_name(sensor))


def parse_score(reply: str) -> int | None:
    """The whole number of the first line that is only a score; `None` if there is none: "Score: 7" → 7."""
    for line in reply.splitlines():
        match = _SCORE.match(line.strip())
        if match:
            return int(match[1])
    return None


def judge_answers(
    items: Sequence[Item],
    endpoint: Endpoint,
    cache: str | Path,
    *,
    groups: Mapping[str, object] | None = None,
    chance: float | None = None,
    seed: int = 0,
    progress: bool = True,
    prompt: str = PROMPT,
) -> Judged:
    """Ask for a score of every item that `cache`, a JSON-lines file, does not hold.

    A cached reply counts for the same key, prompt, model, host and temperature only, so a changed answer is asked
    anew. groups: by key, resampled whole. prompt: see `prompt_of`. Raise `DataError` where the endpoint fails; replies
    so far are kept.
    """
    asked = {item.key: prompt.format(reference=item.reference, answer=item.answer) for item in items}
    if len(asked) < len(items):
        raise DataError("judge: two items have the same key: give each its own.")
    names = {key: _fingerprint(key, text, endpoint) for key, text in asked.items()}
    replies = {record["id"]: str(record["reply"]) for record in read_lines(cache, ("id", "reply"))}
    missing = [key for key in asked if names[key] not in replies]
    with appended(cache) as add:
        for key in tqdm(missing, desc="judge", unit="answer", disable=not progress):
            replies[names[key]] = endpoint.ask(asked[key])
            add({"id": names[key], "key": key, "reply": replies[names[key]]})
    values = {key: parse_score(replies[names[key]]) for key in asked}
    return _judged(values, endpoint, groups, chance, seed, prompt)


def _judged(
    values: dict[str, int | None],
    endpoint: Endpoint,
    groups: Mapping[str, object] | None,
    chance: float | None,
    seed: int,
    prompt: str,
) -> Judged:
    good = {key: value for key, value in values.items() if value is not None}
    of = None if groups is None else [groups[key] for key in good]
    score = bootstrap_mean([float(v) for v in good.values()], groups=of, chance=chance, seed=seed) if good else None
    about = {
        "model": endpoint.model,
        "host": endpoint.host,
        "temperature": endpoint.temperature,
        "prompt": prompt,
        "scale": [1, 10],
    }
    return Judged(score, len(values) - len(good), values, about)


def _fingerprint(key: str, text: str, endpoint: Endpoint) -> str:
    told = json.dumps([key, endpoint.host, endpoint.body(text)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:24]
