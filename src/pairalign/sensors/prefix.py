"""What stands before a prompt's first signal, read without a graph, so that a step pays for the tokens behind it alone.

Where nothing of the language model acts before a sensor, its keys and values there are the base's whatever is trained:
a constant, in training too. Each prompt of a batch is cut at its own first signal; the parts before are read without
gradients, and the parts behind go on with their keys and values. With `gib` they are kept and read once for all, and
with `disk` in files what memory does not hold.

Note:
    Positions count a prompt's own tokens, padding aside, which is all that rotary positions look at. Pictures have to
    stand before the signals, and a model whose tokens look ahead has no such constant: `agree` tells, by comparing with
    one pass over the whole. What was kept came from another batch and differs from what is read anew by rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.sensors.head import head_in_one_piece
from pairalign.sensors.model import CACHES, SensorModel, cache_of
from pairalign.sensors.prefix_disk import PrefixDisk, Row
from pairalign.sensors.sensor import embedding_of
from pairalign.sensors.splice import spliced
from pairalign.sensors.turns import KEPT, keepers_of

TOKENWISE = ("mm_token_type_ids", "token_type_ids")
LEAST = 8  # tokens before the sensors of a batch, on average, that are worth a pass of their own


class Cut(NamedTuple):
    """Both parts of a batch: ids and mask (B, P) before, (B, S) behind; each row has its own tokens on the right."""

    before: Tensor
    before_mask: Tensor
    behind: Tensor
    behind_mask: Tensor
    columns: Tensor


def cut(model: SensorModel, ids: Tensor, mask: Tensor, keep: int) -> Cut | None:
    """Cut prompts (B, T), padded on the left, each at its first signal; `None` where that would not pay or not do.

    keep: columns at the end whose logits are asked for; a prompt without signals is cut before them.
    """
    length = ids.shape[1]
    sensed = torch.isin(ids, torch.tensor(list(model.placeholders.values()), device=ids.device))
    starts = torch.where(sensed.any(1), sensed.int().argmax(1), length - keep).clamp(max=length - keep)
    own = mask.bool()
    counts = (own & (torch.arange(length, device=ids.device) < starts[:, None])).sum(1)
    if not bool(sensed.any()) or int(counts.min()) < 1 or float(counts.float().mean()) < LEAST:
        return None
    seen = torch.isin(ids, torch.tensor(sorted(model.visual), device=ids.device, dtype=ids.dtype)) & own
    if bool((seen & (torch.arange(length, device=ids.device) >= starts[:, None])).any()):
        return None
    before, behind = int(counts.max()), length - int(starts.min())
    columns = starts[:, None] - before + torch.arange(before, device=ids.device)
    inside = (columns >= 0) & own.gather(1, columns.clamp(min=0))
    rest = torch.arange(length - behind, length, device=ids.device) >= starts[:, None]
    filler = ids[:, -1:]  # of an answer: neither a signal nor a picture, and not attended to
    return Cut(
        torch.where(inside, ids.gather(1, columns.clamp(min=0)), filler),
        inside.to(mask.dtype),
        torch.where(rest, ids[:, -behind:], filler),
        (rest & own[:, -behind:]).to(mask.dtype),
        columns,
    )


class Prefixes:
    """Logits of prompts whose parts before the first signal are read without a graph.

    Args:
        gib: GiB of them that are kept, on the model's device, by what they are; 0 for none.
        disk: where others are kept.
    """

    def __init__(self, gib: float = 0.0, disk: PrefixDisk | None = None) -> None:
        self.room, self.disk = int(gib * 2**30), disk
        self.kept: dict[str, Row] = {}

    def logits(
        self, model: SensorModel, inputs: Mapping[str, Any], keep: int, keys: Sequence[str] | None = None
    ) -> Tensor | None:
        """Logits (B, keep, V) of the last columns; `None` for a batch that is to be read whole.

        inputs: as `SensorModel` takes them. keys: of each prompt's part before its first signal, pictures and all, by
        which it may be kept; "" for one that may not.
        """
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        found = cut(model, ids, mask, keep)
        if found is None:
            return None
        with model.turns.turn(model.llm), head_in_one_piece(model.llm):
            rows = self._rows(model, found, inputs, keys)
            if rows is None:
                return None
            return _behind(model, found, rows, inputs, keep)

    def _rows(
        self, model: SensorModel, found: Cut, inputs: Mapping[str, Any], keys: Sequence[str] | None
    ) -> list[Row] | None:
        known = None if keys is None else self._known(keys, found.before.device)
        if known is not None:
            return known
        rows = read_before(model, found, inputs)
        if rows is not None and keys is not None:
            for key, row in zip(keys, rows, strict=True):
                self._keep(key, row)
        return rows

    def _known(self, keys: Sequence[str], device: torch.device) -> list[Row] | None:
        """What is kept of all prompts of a batch; `None` where something of it is not."""
        disk = self.disk
        if not all(key in self.kept or (disk is not None and key in disk) for key in keys):
            return None
        found: dict[str, Row] = {}
        for key in keys:
            if key not in found:
                row = self.kept.get(key) or (disk.load(key, device) if disk is not None else None)
                if row is None:
                    return None
                found[key] = row
        return [found[key] for key in keys]

    def _keep(self, key: str, row: Row) -> None:
        if not key or key in self.kept:
            return
        if row.bytes <= self.room:
            self.kept[key] = Row(tuple((k.clone(), v.clone()) for k, v in row.layers), row.ahead)
            self.room -= row.bytes
        elif self.disk is not None:
            self.disk.keep(key, row)


def agree(cut: Tensor, whole: Tensor) -> bool:
    """Whether logits of cut prompts are those of one pass over the whole, up to rounding."""
    coarse = max(8 * torch.finfo(whole.dtype).eps, 1e-3)
    return bool((cut.float() - whole.float()).abs().max() <= coarse * whole.float().abs().max().clamp(min=1))


@torch.no_grad()
def read_before(model: SensorModel, found: Cut, inputs: Mapping[str, Any]) -> list[Row] | None:
    """Read the parts before; `None` where the model keeps something else than keys and values of every token."""
    llm, length = model.llm, found.before.shape[1]
    more = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask", "signals")}
    for name in TOKENWISE:
        if name in more:
            kinds = more[name].gather(1, found.columns.clamp(min=0))
            more[name] = torch.where(found.before_mask.bool(), kinds, 0)
    if model.keeps_logits:
        more["logits_to_keep"] = 1
    keepers = keepers_of(llm)
    places = {} if keepers else {"position_ids": _places(found.before_mask)}  # they work out their own
    with spliced(embedding_of(llm), None):
        out = llm(input_ids=found.before, attention_mask=found.before_mask, use_cache=True, **places, **more)
    layers = getattr(cache_of(out), "layers", None)
    if not layers or any(type(layer).__name__ != "DynamicLayer" for layer in layers):
        return None
    counts = found.before_mask.sum(1).tolist()
    ahead = getattr(keepers[0], KEPT).flatten().tolist() if keepers else [0] * len(counts)
    return [
        Row(
            tuple((layer.keys[n, :, length - count :], layer.values[n, :, length - count :]) for layer in layers),
            int(ahead[n]),
        )
        for n, count in enumerate(counts)
    ]


def _behind(model: SensorModel, found: Cut, rows: Sequence[Row], inputs: Mapping[str, Any], keep: int) -> Tensor:
    """Go on with keys and values of the parts before."""
    llm, most = model.llm, max(row.layers[0][0].shape[1] for row in rows)
    mask = found.behind_mask
    counts = torch.tensor([row.layers[0][0].shape[1] for row in rows], device=mask.device)
    options: dict[str, Any] = {"logits_to_keep": keep} if model.keeps_logits else {}
    attended = (torch.arange(most, device=mask.device) >= most - counts[:, None]).to(mask.dtype)
    ahead = counts + torch.tensor([row.ahead for row in rows], device=mask.device)
    places = _places(mask) + ahead[:, None]
    options["position_ids"] = places.expand(3, -1, -1) if keepers_of(llm) else places
    ids, splice = model.splice(found.behind, inputs.get("signals") or {}, {"attention_mask": mask})
    options |= {
        name: torch.zeros_like(mask, dtype=inputs[name].dtype) for name in TOKENWISE if inputs.get(name) is not None
    }
    with spliced(embedding_of(llm), splice):
        out = llm(
            input_ids=ids,
            attention_mask=torch.cat([attended, mask], 1),
            **{_cache_name(llm): _cache(rows, most)},
            **options,
        )
    logits: Tensor = out.logits[:, -keep:]
    return logits


def _places(mask: Tensor) -> Tensor:
    """Positions (B, N) of a prompt's own tokens, from 0."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def _cache_name(llm: nn.Module) -> str:
    """How the model calls the keys and values that it goes on with."""
    named = inspect.signature(llm.forward).parameters
    return next((name for name in reversed(CACHES) if name in named), CACHES[0])


def _cache(rows: Sequence[Row], most: int) -> Any:
    """Keys and values of all rows, each on the right of (B, heads, `most`, width)."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for n in range(len(rows[0].layers)):
        keys, values = (torch.stack([_filled(row.layers[n][part], most) for row in rows]) for part in (0, 1))
        cache.update(keys, values, n)
    return cache


def _filled(part: Tensor, most: int) -> Tensor:
    return nn.functional.pad(part, (0, 0, most - part.shape[1], 0))
