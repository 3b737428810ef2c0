"""The published measurements of touch descriptions, and how ours differs: for the result file.

Source: TVL (arXiv:2402.13232), code Max-Fu/tvl tvl_llama/evaluate.py; SSVTP (arXiv:2209.13042); TacQuad is the data set
of AnyTouch (arXiv:2502.12191).

Note:
    Published scores are a judge's, from 1 to 10, and our keyword scores are shares: the two are never the same number,
    and a judge's scores compare only under one judge, prompt and reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.data.kinds import names_touch

PROMPT = "Describe what this touch feels like in a few adjectives."
KEYWORDS = (
    "the headline is keyword precision, recall and F1, which need no judge; the publication reports none of them.",
)
TVL_JUDGE = (
    "TVL asks GPT-4 for 1 to 10 at the endpoint's default temperature, in words of its own, and counts the first word "
    "of a reply as the score, leaving out replies where that is no number; here prompt, model and temperature are "
    "recorded, and such replies are counted.",
    'TVL asks "This image gives tactile feelings of?" with camera image and touch together and up to 256 tokens.',
)


@dataclass(frozen=True)
class Published:
    """title, source and, in words, what differs from it whatever the settings. pairs: in the published test set."""

    title: str
    source: str
    differs: tuple[str, ...]
    pairs: int | None = None


PROTOCOLS = {
    "tvl": Published(
        "touch descriptions of TVL's test set, SSVTP and HCT",
        "TVL (arXiv:2402.13232), code Max-Fu/tvl tvl_llama/evaluate.py",
        KEYWORDS + TVL_JUDGE,
        402,
    ),
    "ssvtp": Published(
        "touch descriptions of SSVTP's part of TVL's test set",
        "SSVTP (arXiv:2209.13042), labels and measurement of TVL (arXiv:2402.13232)",
        KEYWORDS + TVL_JUDGE,
    ),
    "tacquad": Published(
        "touch descriptions of TacQuad",
        "TacQuad of AnyTouch (arXiv:2502.12191)",
        ("AnyTouch has no language model and publishes no descriptions of TacQuad, so no figure stands beside these.",),
    ),
}
DEFAULT = Published("touch descriptions", "keyword scores of pairalign", ())


def question(sensor: str) -> str:
    """What is asked of a sensor's signals where nobody says it."""
    return PROMPT if names_touch(sensor) else f"Describe what this {spoken_name(sensor)} signal shows in a few words."


def spoken_name(sensor: str) -> str:
    """A sensor's name in a sentence."""
    return sensor.replace("_", " ")


def published(name: str | None, sensor: str = "touch") -> Published:
    """By name, or what holds for any data of a sensor; raise `ConfigError` for an unknown name."""
    if name is None:
        return replace(DEFAULT, title=f"{spoken_name(sensor)} descriptions")
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol={name!r} is unknown.{did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]
