"""Raw samples through an aligned run: their embeddings, and how probable some words are for them.

    aligned = pairalign.load_aligned("run")
    aligned.embed("touch", "press.png")                        # (D,)
    aligned.classify("touch", press, ["wood", "metal"])        # {"wood": 0.91, "metal": 0.09}

Note:
    A list is a batch, everything else one sample, a text in a text modality included. Probabilities are of the given
    words alone and sum to 1: something that is neither of them still gets them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairalign.align.model import PairAligner
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.decode import read_signal
from pairalign.data.encode import is_numeric
from pairalign.data.graph import edge_name
from pairalign.evaluate.measure import encode_texts
from pairalign.evaluate.zero_shot import class_embeddings, template_kind

BATCH = 64


@torch.no_grad()
def embed(
    aligner: PairAligner,
    modality: str,
    samples: Any,
    *,
    toward: str | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> Tensor:
    """Unit vector (D,) of one raw sample, or (N, D) of a list of them, on the CPU. See `AlignRun.embed`."""
    encoder = aligner.encoder(modality)
    if toward is not None:
        aligner.path_gate(modality, toward) if toward in aligner.encoders else aligner.encoder(toward)
    several = isinstance(samples, list) and not is_numeric(samples)
    given = samples if several else [samples]
    if not given:
        raise DataError(f"samples=[] of {modality!r}: give at least one.")
    read = [_read(encoder, one, recorded, f"{modality} sample {n}") for n, one in enumerate(given)]
    device, found = next(aligner.parameters()).device, []
    aligner.eval()
    for start in range(0, len(read), BATCH):
        batch = encoder.collate(read[start : start + BATCH]).to(device)
        if toward is None:
            found.append(torch.nn.functional.normalize(aligner.encode(modality, batch).shared, dim=1).cpu())
        else:
            found.append(aligner.embed(modality, batch, toward).cpu())
    vectors = torch.cat(found)
    return vectors if several else vectors[0]


def classify(
    aligner: PairAligner,
    modality: str,
    samples: Any,
    words: Sequence[str],
    *,
    templates: str | Sequence[str] | None = None,
    text: str | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> dict[str, float] | list[dict[str, float]]:
    """Probability by word of one raw sample, or a list of these of a list of samples. See `AlignRun.classify`."""
    names = [words] if isinstance(words, str) else list(words)
    if len(set(names)) < max(2, len(names)) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"words={names!r}: give two or more different words.")
    kind, text = aligner.encoder(modality).signal.kind, _text_of(aligner, modality, text)
    scale = _scale(aligner, modality, text)
    encode = partial(encode_texts, aligner, text, modality)
    vectors = class_embeddings(encode, names, templates or template_kind(modality, kind))
    found = embed(aligner, modality, samples, toward=text, recorded=recorded)
    chances = (scale * (found.double() @ vectors.T)).softmax(-1)
    if chances.ndim == 1:
        return dict(zip(names, chances.tolist(), strict=True))
    return [dict(zip(names, row, strict=True)) for row in chances.tolist()]


def _read(encoder: Encoder, sample: Any, recorded: Mapping[str, Any] | None, where: str) -> Tensor:
    """One raw sample as the encoder takes it; a path is a file, and so is a string where the modality is no text."""
    if isinstance(sample, PathLike) or (isinstance(sample, str) and encoder.signal.kind != "text"):
        sample = read_signal(Path(sample))
    value = encoder.preprocess(sample if recorded is None else encoder.conform(sample, recorded))
    encoder.signal.check(value, where)
    return value


def _text_of(aligner: PairAligner, modality: str, text: str | None) -> str:
    """The modality that reads the words."""
    texts = [name for name in aligner.encoders if aligner.encoder(name).signal.kind == "text"]
    if text is not None and text not in texts:
        raise ConfigError(f"text={text!r}: is no text modality of this run.{did_you_mean(text, texts)}")
    joined = [name for name in texts if name != modality and aligner.graph.path(modality, name) is not None]
    able = [name for name in joined if text in (None, name)]
    if len(able) != 1:
        what = f"several texts ({', '.join(able)}): name one with text" if able else "no text: words need one"
        raise ConfigError(f"classify {modality!r}: pairs join it to {what}.")
    return able[0]


def _scale(aligner: PairAligner, modality: str, text: str) -> float:
    """The learned inverse temperature of cosines with texts: that of the path's last edge."""
    if aligner.loss.similarity != "cosine":
        raise ConfigError(
            "classify: the run compares by distance (loss.similarity: euclidean) and learned no temperature of "
            "cosines: compare what embed() gives."
        )
    path = aligner.graph.path(modality, text)
    assert path is not None
    return float(aligner.scales[edge_name(aligner.graph.edges_along(path)[-1])]().detach())
