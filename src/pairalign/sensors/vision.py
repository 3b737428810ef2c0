"""A base's picture features, kept: a frozen vision tower and projector say the same of a picture at every step.

    memory = VisionMemory(gib=4.0)
    with memory.reading(llm):
        llm(pixel_values=pictures, ...)

Within `reading` the base's own `get_image_features` is asked of one picture after the other, and of each only once.
What it said is kept on the model's device by a hash of what it was asked (pixels, sizes, the numbers in which it
computes) and never by where a picture stood. So it is to the bit what the base says of that picture alone, whichever
batch showed it first, and a run that goes on after a kill reads the same.

Note:
    A tower that reads many pictures at once may round otherwise than for one. SmolVLM and Idefics3 read all pictures of
    a prompt together, and LLaVA-OneVision those of a prompt with several: these are kept together. A first look costs
    as much as ever, and more where many small pictures would have been read at once.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import ConfigError
from pairalign.dormant.linears import decoder_prefix

SPLITS = (
    "gemma3",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_next_video",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen3_vl",
    "smolvlm",
)
"""Families, `config.model_type`, whose features of a picture are known to be its own."""
ASK = "get_image_features"
PIXELS, GRID, COUNTS, MASK = "pixel_values", "image_grid_thw", "batch_num_images", "pixel_attention_mask"
PARTED = (PIXELS, GRID, COUNTS, MASK, "image_sizes")
POOLED, DEEP = "pooler_output", "deepstack_features"

Call = dict[str, Any]


class Seen(NamedTuple):
    """Features of one picture: what the base calls `POOLED`, and `DEEP` by layer where it has them; the kind of output
    that they came in."""

    pooled: Any
    deep: Any
    kind: type

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(t.numel() * t.element_size() for t in _tensors((self.pooled, self.deep)))


def reader_of(llm: nn.Module) -> nn.Module:
    """The module whose `get_image_features` the base's forward pass asks; raise `ConfigError` for a base that is not
    known to read each picture by itself."""
    kind = getattr(getattr(llm, "config", None), "model_type", "")
    found = [module for module in llm.modules() if hasattr(type(module), ASK)]
    if kind not in SPLITS or not found:
        raise ConfigError(
            f"train.vision_memory: base {kind or type(llm).__name__!r} is not known to read each picture by itself, as "
            f"{', '.join(SPLITS)} do: give train.vision_memory=0."
        )
    return found[-1]  # the innermost: what is around it only hands on


def check_still(llm: nn.Module, trained: Sequence[str] = ()) -> None:
    """Raise `ConfigError` where something of the vision tower or the projector trains, so that nothing of it stays.

    trained: names of layers that will.
    """
    reader, decoder = reader_of(llm), decoder_prefix(llm)
    inside = {id(p) for p in llm.get_submodule(decoder).parameters()}
    outside = {id(p) for p in reader.parameters()} - inside
    wanted = tuple(f"{name}." for name in trained)
    for name, parameter in llm.named_parameters():
        if id(parameter) in outside and (parameter.requires_grad or name.startswith(wanted)):
            raise ConfigError(
                f"train.vision_memory: {name} trains, and what the base says of a picture changes with it: leave it "
                "out of target_modules, or give train.vision_memory=0."
            )


class VisionMemory:
    """Features of pictures by what they are. gib: GiB of them, on the model's device."""

    def __init__(self, gib: float) -> None:
        self.room = int(gib * 2**30)
        self.kept: dict[str, Seen] = {}

    @contextmanager
    def reading(self, llm: nn.Module) -> Iterator[None]:
        """Within it the base is asked of each picture once. Of one thread: it is the base that asks here."""
        reader = reader_of(llm)
        ask = getattr(reader, ASK)
        vars(reader)[ASK] = lambda *args, **kwargs: self._features(ask, args, kwargs)
        try:
            yield
        finally:
            del vars(reader)[ASK]

    @torch.no_grad()
    def _features(self, ask: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        found = [None if part is None else self._of(ask, part) for part in _pictures(_named(ask, args, kwargs))]
        if not any(found):  # of no picture at all
            return ask(*args, **kwargs)
        return _joined(found)

    def _of(self, ask: Any, call: Call) -> Seen:
        """What the base says of one picture, or of those that it reads together."""
        key = key_of(call)
        if key in self.kept:
            return self.kept[key]
        out = ask(**call)
        seen = Seen(_cloned(getattr(out, POOLED)), _cloned(getattr(out, DEEP, None)), type(out))
        if seen.bytes <= self.room:
            self.room -= seen.bytes
            self.kept[key] = seen
        return seen


def key_of(call: Mapping[str, Any]) -> str:
    """SHA-256 of everything that the base is asked of a picture, and of the numbers in which it computes."""
    told = hashlib.sha256()
    for name, value in sorted(call.items()):
        if not isinstance(value, Tensor):
            told.update(f"{name}={value!r};".encode())
            continue
        if name == PIXELS and value.dim() == 5:
            value = _without_filling(value)
        told.update(f"{name}: {value.dtype} {tuple(value.shape)};".encode())
        told.update(value.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    device = call[PIXELS].device.type
    if torch.is_autocast_enabled(device):
        told.update(f"autocast {torch.get_autocast_dtype(device)}".encode())
    return told.hexdigest()


def _without_filling(tiles: Tensor) -> Tensor:
    """Tiles (1, N, …) without those of zeros at the end, of which a batch's largest picture decides how many."""
    there = torch.nonzero(tiles.flatten(2).ne(0).any(-1)[0])
    return tiles[:, : int(there[-1]) + 1 if len(there) else 0]


def _named(ask: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """A call's arguments by name."""
    taken = inspect.signature(ask)
    found = dict(taken.bind(*args, **kwargs).arguments)
    rest = next((n for n, p in taken.parameters.items() if p.kind is p.VAR_KEYWORD), None)
    return {**found, **found.pop(rest, {})} if rest is not None else found


def _pictures(call: Call) -> list[Call | None]:
    """The call of each picture by itself, or of each prompt's pictures where they are read together; `None` for a
    prompt that has none. Raise `ConfigError` for a tensor that nobody knows how to share out."""
    tensors = {name: value for name, value in call.items() if isinstance(value, Tensor)}
    if strange := sorted(set(tensors) - set(PARTED)):
        raise ConfigError(f"train.vision_memory: the base's tower is given {strange[0]}, too: give 0.")
    pixels = tensors[PIXELS]
    if GRID in tensors:
        return _cut(call, tensors, {PIXELS: tensors[GRID].prod(-1).tolist()}, [1] * len(tensors[GRID]))
    if COUNTS in tensors:
        counts = tensors[COUNTS].tolist()
        return _cut(call, tensors, {COUNTS: [1] * len(counts)}, counts)
    if MASK in tensors or (pixels.dim() == 5 and "image_sizes" not in tensors):
        return [_of_prompt(call, tensors, n) for n in range(len(pixels))]
    return _cut(call, tensors, {}, [1] * len(pixels))


def _cut(
    call: Call, tensors: Mapping[str, Tensor], own: Mapping[str, list[int]], counts: list[int]
) -> list[Call | None]:
    """Calls whose tensors have so many rows each: `counts`, or `own` by name; none of none."""
    parts = {name: value.split(own.get(name, counts)) for name, value in tensors.items()}
    return [{**call, **{name: rows[n] for name, rows in parts.items()}} for n, count in enumerate(counts) if count]


def _of_prompt(call: Call, tensors: Mapping[str, Tensor], place: int) -> Call | None:
    """The pictures of one prompt, tiles (B, N, …) of zeros left out, which only fill up."""
    real = tensors[PIXELS][place].flatten(1).ne(0).any(-1)
    return {**call, **{name: value[place : place + 1, real] for name, value in tensors.items()}} if real.any() else None


def _joined(found: Sequence[Seen | None]) -> Any:
    """One output for all, as the base gives it: a tensor of no rows for a prompt without pictures."""
    there = [seen for seen in found if seen is not None]
    first = there[0]
    pooled: Any
    if isinstance(first.pooled, Tensor):
        pooled = torch.cat([seen.pooled for seen in there])
    else:
        empty = [first.pooled[0][:0]]
        pooled = [part for seen in found for part in (empty if seen is None else seen.pooled)]
    more = {} if first.deep is None else {DEEP: [_one(parts) for parts in zip(*(s.deep for s in there), strict=True)]}
    return first.kind(**{POOLED: pooled, **more})


def _one(parts: Sequence[Any]) -> Any:
    """One layer's features of several pictures."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return [feature for part in parts for feature in part]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _cloned(value: Any) -> Any:
    """Copies, which hold no larger tensor alive."""
    if isinstance(value, Tensor):
        return value.clone()
    return [_cloned(part) for part in value] if isinstance(value, list | tuple) else value
