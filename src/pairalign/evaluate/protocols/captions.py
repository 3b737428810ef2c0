"""The caption of every test sample, as TVL reads it: some of its words, but always the same ones.

Source: Fu et al. 2024 (arXiv:2402.13232): a caption is a list of adjectives; a sample shows a random non-empty subset
of them, in their order, as "soft, woven, and warm."

Note:
    TVL draws that subset anew each time a test sample is read, so that its own figures change from run to run; here it
    follows from the sample's key and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.convert.tvl_lists import words_of
from pairalign.data.shards import read_samples
from pairalign.evaluate.protocols.task import Task

BATCH = 256


def sentence(words: Sequence[str]) -> str:
    """TVL's form: "a.", "a, and b.", "a, b, and c."."""
    return f"{words[0]}." if len(words) == 1 else f"{', '.join(words[:-1])}, and {words[-1]}."


def words_by_key(words: Sequence[str], key: str) -> list[str]:
    """The subset that belongs to a key: each non-empty one is as likely, the order is kept."""
    digest = hashlib.blake2b(key.encode(), digest_size=64).digest()
    chosen = 1 + int.from_bytes(digest, "little") % (2 ** len(words) - 1)
    return [word for place, word in enumerate(words) if chosen >> place & 1]


FORMS: dict[str, Callable[[str, str], str]] = {
    "by_key": lambda caption, key: sentence(words_by_key(words_of(caption), key)),
    "whole": lambda caption, key: sentence(words_of(caption)),
    "stored": lambda caption, key: caption,
}


def check_form(form: str) -> None:
    """Raise `ConfigError` for an unknown form of captions."""
    if form not in FORMS:
        raise ConfigError(f"setting captions={form!r} is unknown.{did_you_mean(form, FORMS)}")


def read_captions(task: Task, split: str, text: str, form: str) -> dict[str, str]:
    """Caption by key of a split; `DataError` for one without words."""
    field, found = task.source(text), {}
    bad: list[tuple[str, str]] = []  # the pool lists them
    for sample in read_samples(task.folder, split, [field], on_bad=lambda *entry: bad.append(entry)):
        value = sample.values[field]
        if not isinstance(value, str) or not words_of(value):
            raise DataError(
                f"pairs {str(task.folder)!r}, sample {sample.key!r}: caption {value!r} holds no words: "
                "leave the sample out, or give it one."
            )
        found[sample.key] = FORMS[form](value, sample.key)
    return found


@torch.no_grad()
def encode_captions(task: Task, text: str, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Shared latents (N, d_s) and the text tower's own features (N, D) of captions; equal ones are encoded once."""
    aligner, encoder = task.run.aligner, task.run.aligner.encoder(text)
    device = next(aligner.parameters()).device
    distinct = list(dict.fromkeys(captions))
    shared, features = [], []
    for start in tqdm(range(0, len(distinct), BATCH), desc="encode captions", disable=not task.progress):
        values = [encoder.preprocess(caption) for caption in distinct[start : start + BATCH]]
        pooled = encoder(encoder.collate(values).to(device)).pooled
        shared.append(aligner.encode(text, pooled, cached=True).shared.cpu())
        features.append(pooled.cpu())
    place = {caption: row for row, caption in enumerate(distinct)}
    rows = [place[caption] for caption in captions]
    return torch.cat(shared)[rows], torch.cat(features)[rows]
