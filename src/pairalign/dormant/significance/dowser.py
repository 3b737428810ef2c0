"""Model-Dowser: abs(W) weighted by how much each output moves the logits and how large each input is. Data-free.

For every batch and Rademacher probe ξ: `mean_t abs(dS/dy_i) · abs(W_ij) · mean_t abs(x_j)` with
`S = Σ ξ · logits[:, last] / B`; the score is the mean over both, in which a batch counts by its B samples.
Source: arXiv:2602.04509, as its code does it, which has no padding: here `last` is each prompt's last token and t runs
over its tokens. Without calibration data the model writes its own: BOS and 1 to 5 random tokens, sampled on at
temperature 0.9, top-p 0.9, repetition penalty 1.05.

Note:
    What a model writes by itself is text; pass calibration batches with images to hear about them too. A batch goes
    back through one decoder layer at a time; where that cannot be (see `layered`), its whole graph is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Count
from pairalign.core.errors import DormantError
from pairalign.dormant.provenance import Seen
from pairalign.dormant.significance.answers import kept_logits
from pairalign.dormant.significance.capture import frozen, hooked
from pairalign.dormant.significance.layered import cut, decoder_layers, walk_back
from pairalign.dormant.significance.scores import Batch, Linears, base_weight, real_tokens, register_score

OPENING = 5
Totals = Callable[[Tensor], list[Tensor]]


@register_score("dowser")
def dowser(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    probes: Count = 8,
    prompts: Count = 64,
    length: Count = 64,
    batch_size: Count = 8,
) -> Mapping[str, Tensor]:
    """Scores from `probes` backward passes a batch. prompts, length, batch_size: what the model writes for itself."""
    if calibration is None:
        calibration = list(written_prompts(model, prompts, length, batch_size, seed))
    seen = Seen(calibration)
    generator = torch.Generator().manual_seed(seed)
    sizes: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in linears}
    layers = decoder_layers(model, linears)
    samples: list[int] = []
    for batch in seen:
        signs: list[Tensor] = []  # the same for both ways through a batch

        def totals(last: Tensor, signs: list[Tensor] = signs) -> list[Tensor]:
            if not signs:
                samples.append(len(last))
                signs += [torch.randint(0, 2, last.shape, generator=generator).mul(2).sub(1) for _ in range(probes)]
            return [(one.to(last) * last).sum() / len(last) for one in signs]

        met = by_layer(model, linears, layers, batch, totals) if layers else None
        if met is None:
            layers, met = {}, whole(model, linears, batch, totals)
        for name, large, moved in met:
            sizes[name].append((large.cpu(), moved.cpu() / probes, torch.tensor(float(samples[-1]))))
    if not samples:
        raise DormantError("calibration is empty: score='dowser' needs at least one batch, or None to write its own.")
    unseen = [name for name, found in sizes.items() if not found]
    if unseen:
        raise DormantError(f"score='dowser': the calibration data never reached {unseen[0]}; give data that does.")
    return _Products(linears, sizes, seen.record())


class Met(list[tuple[str, Tensor, Tensor]]):
    """Of every linear layer met: name, mean size of its input (in,), and of its output's gradient (out,), summed."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.batch = batch

    def see(self, name: str, input: Tensor, output: Tensor) -> None:
        moved = torch.zeros(output.shape[-1], device=output.device)
        self.append((name, self._mean_size(input.detach()), moved))

        def add(gradient: Tensor) -> None:
            moved.add_(self._mean_size(gradient))

        output.register_hook(add)

    def _mean_size(self, values: Tensor) -> Tensor:
        return real_tokens(values, self.batch).float().abs().mean(0)


def by_layer(
    model: nn.Module, linears: Linears, layers: dict[str, nn.Module], batch: Batch, totals: Totals
) -> Met | None:
    """What a batch says, with one layer's graph at a time; `None` if the model cannot be cut at its layers."""
    met = Met(batch)
    with frozen(model):
        with cut(layers) as calls:
            last = _last_logits(model, batch)
        return met if calls and walk_back(calls, totals(last), linears, met.see) else None


def whole(model: nn.Module, linears: Linears, batch: Batch, totals: Totals) -> Met:
    """What a batch says, with its whole graph."""
    met = Met(batch)
    with frozen(model) as leaves, hooked(linears, met.see, leaves):
        for total in totals(_last_logits(model, batch)):
            torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    return met


def _last_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(B, V), float32: the logits at each prompt's last token that is no padding."""
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2:
        kept, place = torch.tensor([-1]), torch.tensor([0])
    else:
        kept, place = (mask.shape[1] - 1 - mask.bool().flip(1).int().argmax(1)).unique(return_inverse=True)
    logits = kept_logits(model, batch, kept)
    last: Tensor = logits[torch.arange(len(logits)), place.expand(len(logits))]
    return last.float()


def written_prompts(model: nn.Module, count: int, length: int, batch_size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Batches of token sequences that the model samples from a few random tokens."""
    speaker: Any = model
    config = speaker.config.get_text_config()
    begin = [] if config.bos_token_id is None else [config.bos_token_id]
    draw = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            opening = int(torch.randint(1, OPENING + 1, (), generator=draw))
            drawn = torch.randint(0, config.vocab_size, (size, opening), generator=draw)
            prompt = torch.cat([torch.tensor([begin] * size, dtype=torch.int64).view(size, len(begin)), drawn], 1)
            with torch.no_grad():
                ids = speaker.generate(
                    prompt.to(device),
                    attention_mask=torch.ones_like(prompt, device=device),
                    do_sample=True,
                    temperature=0.9,
                    top_p=0.9,
                    repetition_penalty=1.05,
                    min_length=length,
                    max_length=length,
                )
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class _Products(Mapping[str, Tensor]):
    """abs(W) times the mean over samples of the outer products of their batch's (out,) and (in,) vectors. read: what of
    data was looked at, the model's own prompts too."""

    def __init__(
        self,
        linears: Linears,
        sizes: Mapping[str, Sequence[tuple[Tensor, Tensor, Tensor]]],
        read: dict[str, Any] | None,
    ) -> None:
        self.linears, self.sizes, self.read = linears, sizes, read

    def __getitem__(self, name: str) -> Tensor:
        weight = base_weight(self.linears[name])
        parts = zip(*self.sizes[name], strict=True)
        inputs, outputs, samples = (torch.stack(part).to(weight.device) for part in parts)
        return ((outputs.mT * samples) @ inputs).mul_(weight.abs()).div_(samples.sum())

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)
