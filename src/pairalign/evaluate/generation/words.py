"""The adjectives of a description: words as stems, phrases as tuples of stems.

Source: the inflection rules are the plural, -ed and -ing steps of Porter (1980), and no others: "ridged", "ridges" and
"ridge" are one word, "bumpy" and "bump" are two.

Note:
    Negation is not understood, "not soft" says soft; and a degree is dropped, "very soft" says soft. In running text
    only words of the vocabulary are found, since nothing here knows an adjective from a noun; in a list of short
    phrases every phrase counts, known or not, and a phrase of several words that is not known as a whole counts as the
    known ones in it: "soft fabric" says soft. A word that else says nothing ("felt", "can") is a phrase where it stands
    alone between commas, for it may be a sample's name; and then, as part of the vocabulary, in running text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Phrase = tuple[str, ...]

LONGEST = 3  # words of a phrase in a list, fillers left out
FILLERS = frozenset(
    word
    for line in (
        "a an the this that it its is are was be being has have of to in on at as also like",
        "feel feels feeling felt sense sensation seems appears looks touch tactile surface texture object material",
        "very quite rather slightly somewhat fairly really extremely relatively bit little",
        "i you can would may might there one no not",
    )
    for word in line.split()
)
_WORD = re.compile(r"[a-z]+")
_BREAK = re.compile(r"[,;:.!?\n•*/|]+|\b(?:and|or|but|with|while|yet)\b")
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLE = re.compile(r"([bdfgmnprt])\1$")


def stem(word: str) -> str:
    """A lower-case word without plural s, -ed, -ing and a final e: "ridged" → "ridg", "bumps" → "bump"."""
    if word.endswith("ies") or word.endswith("ied"):
        word = word[:-3] + "y" if len(word) > 4 else word[:-1]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ed", "ing"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWEL.search(rest):
            word = _DOUBLE.sub(r"\1", rest)
            break
    if word.endswith(("xe", "she", "che", "sse")):  # what is left of boxes, brushes
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def phrase(text: str) -> Phrase:
    """The stems of a text in their order, fillers left out: "a very fine-grained surface" → ("fin", "grain")."""
    return tuple(stem(word) for word in _WORD.findall(text.lower()) if word not in FILLERS)


def named(text: str) -> Phrase:
    """The same of a name: a single word is one, even if it is a filler elsewhere: "felt" → ("felt",)."""
    words = _WORD.findall(text.lower())
    return phrase(text) or ((stem(words[0]),) if len(words) == 1 and len(words[0]) > 1 else ())


def is_list(text: str) -> bool:
    """Whether every piece between commas, stops and "and" is a short phrase."""
    return all(len(piece) <= LONGEST for piece in _pieces(text))


def adjectives(text: str, vocabulary: Iterable[Phrase] = ()) -> list[Phrase]:
    """The distinct phrases of a description, in their order.

    A list of short phrases gives all of them. Running text gives the phrases of the `vocabulary` that occur in it, the
    longest first at every place, none overlapping.
    """
    known = vocabulary if isinstance(vocabulary, (set, frozenset)) else set(vocabulary)
    longest = max(map(len, known), default=0)
    if is_list(text):
        parts = (
            [piece] if piece in known else list(_spot(piece, known, longest)) or [piece]
            for piece in _pieces(text, known)
        )
    else:
        parts = (list(_spot(_stems(part, known), known, longest)) for part in re.split(r"[.!?\n;,:]+", text))
    return list(dict.fromkeys(found for part in parts for found in part))


def _pieces(text: str, known: set[Phrase] | frozenset[Phrase] = frozenset()) -> list[Phrase]:
    return [found for piece in _BREAK.split(text.lower()) if (found := named(piece) or _stems(piece, known))]


def _stems(text: str, known: set[Phrase] | frozenset[Phrase]) -> Phrase:
    """As `phrase`, with those fillers that are known names."""
    return tuple(stem(word) for word in _WORD.findall(text.lower()) if word not in FILLERS or (stem(word),) in known)


def _spot(words: Phrase, known: set[Phrase] | frozenset[Phrase], longest: int) -> Iterator[Phrase]:
    place = 0
    while place < len(words):
        size = next((n for n in range(min(longest, len(words) - place), 0, -1) if words[place : place + n] in known), 0)
        if size:
            yield words[place : place + size]
        place += size or 1


def spelled(text: str) -> Iterator[tuple[Phrase, str]]:
    """Every phrase of a list with the words it is written in, fillers left out."""
    for piece in _BREAK.split(text.lower()):
        if found := named(piece):
            yield found, " ".join(word for word in _WORD.findall(piece) if word not in FILLERS) or piece.strip()
