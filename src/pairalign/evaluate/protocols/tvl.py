"""TVL: touch–language, touch–vision and vision–language top-1 and top-5, as its own evaluation tool counts them.

Source: Fu et al. 2024 (arXiv:2402.13232), code Max-Fu/tvl, tvl_enc/tools/visualize_affinity.py and loss.py:

    right(i, j) = cos(text_i, text_j) > τ          where one side is text, else i = j
    top-k = mean over i of [any of the k nearest of i is right],  averaged over both directions

Note:
    Both directions count half each; τ is a number of one text tower (OpenCLIP ViT-L/14, where .636 is the cosine of
    near-synonyms), and with another tower it means something else. Chance is far above 1/n: every caption that is near
    enough is right, so read each score beside its chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pairalign.align.partial import gated_cosine
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.evaluate.intervals import Score, bootstrap_mean
from pairalign.evaluate.protocols.captions import check_form, encode_captions, read_captions
from pairalign.evaluate.protocols.registry import register_protocol
from pairalign.evaluate.protocols.result import Measurement
from pairalign.evaluate.protocols.task import Task, overlap
from pairalign.evaluate.ranking import TIE, hit_probability, rank_counts, similarities
from pairalign.evaluate.relevance import Near, Rows, SharesAny, count_right

TAU = 0.6356450319  # the published .636; the tool's other three are .8591097295, .8927201033, .9208499491
TEXT_SIDE = ("tower", "shared")
TOUCH_TEXT = {"TVL ViT-Ti": 0.362, "TVL ViT-S": 0.368, "TVL ViT-B": 0.309}
TOUCH_IMAGE = {"TVL ViT-Ti": 0.781, "TVL ViT-S": 0.775, "TVL ViT-B": 0.812}
PAIRS = 402  # of the published test set


@register_protocol(
    "tvl",
    title="touch–language, touch–vision and vision–language top-1",
    source="TVL (arXiv:2402.13232), code Max-Fu/tvl tvl_enc/tools/visualize_affinity.py",
    differs=(
        "the encoders, the text tower and the preprocessing are this run's; TVL's text and vision towers are a frozen "
        "OpenCLIP ViT-L/14, and its touch images are padded square and turned by 90°.",
    ),
)
def measure(
    task: Task,
    tau: float | int | list[float] = TAU,
    captions: str = "by_key",
    similarity: str = "tower",
    touch: str = "touch",
    image: str | None = None,
    text: str | None = None,
    split: str | None = None,
) -> list[Measurement]:
    """tau: text–text cosine above which a caption counts as right; a list measures each.
    captions: "by_key" shows the subset of words that follows from the sample's key, "whole" all, "stored" as packed.
    similarity: text–text cosine by the text "tower"'s own features, or in the "shared" latents.
    touch, image, text: modalities of the run. split: default "test", and leakage-free ones beside it.
    """
    taus = _checked(tau, captions, similarity)
    roles = _roles(task, touch, image, text)
    splits = task.splits(split)
    read = {name: read_captions(task, name, roles["text"], captions) if "text" in roles else {} for name in splits}
    for name in splits:
        if len(task.meta(name)) < 2:
            raise DataError(f"pairs {str(task.folder)!r}, split {name!r}: one sample has nothing to be mistaken for.")
    _note(task, captions, similarity, splits, read)
    return [one for name, split_set in splits.items() for one in _split(task, name, split_set, roles, read[name],
            taus, similarity)]  # fmt: skip


def _checked(tau: float | list[float], captions: str, similarity: str) -> list[float]:
    check_form(captions)
    if similarity not in TEXT_SIDE:
        raise ConfigError(f"setting similarity={similarity!r} is unknown.{did_you_mean(similarity, TEXT_SIDE)}")
    taus = list(tau) if isinstance(tau, list) else [tau]
    if not taus or not all(isinstance(t, (int, float)) and -1 <= t < 1 for t in taus):
        raise ConfigError(f"setting tau={tau!r}: give a cosine from -1 to below 1, such as {TAU}, or a list of them.")
    return [float(t) for t in taus]


def _roles(task: Task, touch: str, image: str | None, text: str | None) -> dict[str, str]:
    """Modality by role, touch and at least one more; notes what run or shards lack, where nobody asked for it."""
    roles = {"touch": task.modality("touch", touch)}
    aligned = task.run.aligner.encoders
    if image is not None or ("image" in aligned and task.source("image") in task.index.modalities):
        roles["image"] = task.modality("image", image or "image")
    texts = [m for m in aligned if task.run.aligner.encoder(m).signal.kind == "text"]
    if text is not None or any(task.source(m) in task.index.modalities for m in texts):
        roles["text"] = task.of_kind("text", "text", text)
    if len(roles) < 2:
        raise DataError(
            f"protocol tvl compares {touch!r} with an image or a text that run {task.run.folder.name!r} aligns and "
            f"pairs {str(task.folder)!r} hold: there is neither. Name them with image=NAME or text=NAME."
        )
    task.notes.extend(f"no {role} in run or shards: left out." for role in ("image", "text") if role not in roles)
    for a, b in _pairs(roles):
        task.joined(roles[a], roles[b])
    return roles


def _pairs(roles: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in (("touch", "text"), ("touch", "image"), ("image", "text")) if {a, b} <= roles.keys()]


def _split(
    task: Task,
    split: str,
    split_set: str,
    roles: Mapping[str, str],
    captions: Mapping[str, str],
    taus: list[float],
    similarity: str,
) -> list[Measurement]:
    """Every pair of roles, both directions and their mean, top-1 and top-5."""
    pool, metas = task.pool(split), task.meta(split)
    shared = {role: pool.latents[modality].shared for role, modality in roles.items()}
    place = [torch.arange(len(pool.keys))]
    own: Rows = SharesAny(place, place)
    if "text" in roles:
        shared["text"], tower = encode_captions(task, roles["text"], [captions[key] for key in pool.keys])
        compared = tower if similarity == "tower" else shared["text"]
    groups = task.clusters([metas[key] for key in pool.keys])
    seen = overlap(task, {key: metas[key] for key in pool.keys})
    found = []
    for a, b in _pairs(roles):
        gate = task.run.aligner.path_gate(roles[a], roles[b]).detach().cpu()
        x, y = gated_cosine(gate, shared[a], shared[b])
        for tau in taus if b == "text" else (None,):
            right = own if tau is None else Near(compared, tau)
            for name, metric, score in both_ways(x, y, right, (roles[a], roles[b]), groups, task.seed):
                metric += "" if tau is None else f" at τ {tau:.3f}"
                detail = " – " not in name or not metric.startswith("top-1")
                figures = {} if detail or split != "test" else _published(a, b, tau)
                found.append(
                    Measurement(name, metric, score, split, split_set, published=figures, overlap=seen, detail=detail)
                )
    return found


def both_ways(
    x: Tensor, y: Tensor, right: Rows | Tensor, names: tuple[str, str], groups: list[int] | None, seed: int
) -> list[tuple[str, str, Score]]:
    """(name, metric, score) of x → y, y → x and their mean, top-1 and top-5.

    x, y: (N, D); right: (N, N) bool by rows, symmetric, row i for query i of either side.
    """
    found = []
    for k in (1, 5):
        if k > len(x):
            continue
        forward, backward = hits(x, y, right, k), hits(y, x, right.T, k)
        chance = float(hit_probability(*_blind(right, k)).mean())
        ways = ((" – ", (forward + backward) / 2), (" → ", forward), (" ← ", backward))
        for sign, values in ways:
            score = bootstrap_mean(values, groups=groups, chance=chance, seed=seed)
            found.append((sign.join(names), f"top-{k}", score))
    return found


def hits(queries: Tensor, targets: Tensor, right: Rows | Tensor, k: int) -> Tensor:
    """Whether any of the k nearest targets is right, (N,) float64; tied targets are in random order, in expectation."""
    allowed = torch.ones(1, len(targets), dtype=torch.bool)
    blocks = [rank_counts(sim, right[rows], allowed, TIE) for rows, sim in similarities(queries, targets)]
    above, wrong, tied, *_ = torch.cat(blocks).unbind(1)
    return hit_probability(k - above, wrong, tied)


def _blind(right: Rows | Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """k, wrong and right targets of each query: what a random order is told."""
    count = count_right(right).double()
    return torch.full_like(count, k), right.shape[1] - count, count


def _published(a: str, b: str, tau: float | None) -> dict[str, float]:
    """The paper's figures for a pair, at its own τ; they are means of both directions."""
    if (a, b) == ("touch", "image"):
        return TOUCH_IMAGE
    return TOUCH_TEXT if (a, b) == ("touch", "text") and tau is not None and abs(tau - TAU) < 5e-4 else {}


def _note(
    task: Task, captions: str, similarity: str, splits: Mapping[str, str], read: Mapping[str, Mapping[str, str]]
) -> None:
    """Say what in captions, thresholds and size is not the published measurement."""
    if any(read.values()):
        forms = {
            "by_key": "a caption's words are the subset that follows from the sample's key; TVL draws it at random.",
            "whole": "captions show all their words; TVL draws a random subset of them.",
            "stored": "captions are as packed; TVL draws a random subset of their words.",
        }
        task.notes.append(forms[captions])
    if similarity == "shared":
        task.notes.append("τ is applied to the shared latents; TVL applies it to the frozen text tower's features.")
    for split, split_set in splits.items():
        count = len(task.meta(split))
        if split_set == "official" and count != PAIRS:
            task.notes.append(f"{count} pairs in {split} instead of the published {PAIRS}.")
