"""Which captions a text encoder tells apart, and how much of them it reads.

Two captions that become the same tokens are the same to it, whatever stands behind the place where they are cut: none
may be the other's negative.

Note:
    What is compared is the part that is read, in Unicode's form NFKC and without regard to case and white space, as
    tokens; so captions that only differ in these are the same as before.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pairalign.align.model import PairAligner
from pairalign.align.sources import edge_sources
from pairalign.core.config import AlignConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import SignalError
from pairalign.data.captions import caption_key, several_texts
from pairalign.data.place import Remote, ShardPlace
from pairalign.data.shards import read_samples

LOOKED, FETCHED = 4096, 256  # samples of a split whose captions are measured, on disk and at an address


def caption_id(encoder: Encoder, caption: Any, otherwise: int) -> int:
    """63-bit id of what a text encoder reads of a caption; `otherwise` for what is no text, or not one that it reads.

    Raise `SignalError` where it cannot read the caption itself.
    """
    if not isinstance(caption, str):
        return otherwise
    seen = encoder.seen(caption)
    try:
        tokens = encoder.preprocess(caption_key(seen) if isinstance(seen, str) else seen)
    except SignalError:
        return otherwise
    digest = hashlib.blake2b(tokens.detach().cpu().contiguous().numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def caption_notes(config: AlignConfig, aligner: PairAligner) -> list[str]:
    """What a user should know of the captions of every training split: how many are cut, and several of a sample."""
    notes: dict[str, None] = {}
    for edge in config.edges:
        for end in edge.between:
            encoder, field = aligner.encoder(end), config.modalities[end].source or end
            if encoder.signal.kind == "text":
                for source in edge_sources(config, edge):
                    where = f"{source.folder}, field {field!r}"
                    notes |= dict.fromkeys(_notes(encoder, source.folder, source.train, field, where))
    return list(notes)


def _notes(encoder: Encoder, folder: ShardPlace, split: str, field: str, where: str) -> list[str]:
    captions = cut = samples = most = longest = 0
    limit = FETCHED if isinstance(folder, Remote) else LOOKED
    for sample in read_samples(folder, split, [field], limit=limit, on_bad=lambda key, reason: None):
        value = sample.values[field]
        texts = several_texts(value) or [value]
        samples, most, captions = samples + 1, max(most, len(texts)), captions + len(texts)
        for text in texts:
            over = _overlong(encoder, text)
            cut, longest = cut + (over > 0), max(longest, over)
    first = f"of the first {samples:,} samples" if samples == limit else "of the training split"
    notes = []
    if cut:
        length = encoder.signal.shape[0]
        notes.append(
            f"note: {where}: {cut:,} of {captions:,} captions {first} are longer than the {length} tokens that the "
            f"encoder reads, by up to {longest}: the rest is cut off, and captions that become equal are not negatives."
        )
    if most > 1:
        notes.append(
            f"note: {where}: a sample has up to {most} captions: one is drawn in each epoch by the seed, none is the "
            "negative of another, and evaluation counts all of them."
        )
    return notes


def _overlong(encoder: Encoder, text: Any) -> int:
    try:
        return encoder.overlong(text) if isinstance(text, str) else 0
    except SignalError:
        return 0  # a damaged sample, which training counts
