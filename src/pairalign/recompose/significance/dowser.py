"""Model-Dowser: abs(W) weighted by how much each output moves the logits and how large each input is. Data-free.

For every batch and Rademacher probe ξ: `mean_t abs(dS/dy_i) · abs(W_ij) · mean_t abs(x_j)` with
`S = Σ ξ · logits[:, −1] / B`; the score is the mean over both, in which a batch counts by its B samples.
Source: arXiv:2602.04509, as its code does it. Without calibration data the model writes its own: BOS and 1 to 5 random
tokens, sampled on at temperature 0.9, top-p 0.9, repetition penalty 1.05.
Where it bites: what a model writes by itself is text; pass calibration batches with images to hear about them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.errors import DormantError
from pairalign.recompose.significance.capture import watched
from pairalign.recompose.significance.scores import Batch, Linears, register_score

OPENING = 5


@register_score("dowser")
def dowser(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    probes: int = 8,
    prompts: int = 64,
    length: int = 64,
    batch_size: int = 8,
) -> Mapping[str, Tensor]:
    """Scores from `probes` backward passes a batch. prompts, length, batch_size: what the model writes for itself."""
    batches = (
        calibration if calibration is not None else list(written_prompts(model, prompts, length, batch_size, seed))
    )
    generator = torch.Generator().manual_seed(seed)
    moved: dict[str, list[Tensor]] = {name: [] for name in linears}
    large: dict[str, list[Tensor]] = {name: [] for name in linears}
    sizes: list[int] = []

    def see(name: str, input: Tensor, output: Tensor) -> None:
        large[name].append(_mean_size(input.detach()))
        total = torch.zeros(output.shape[-1])
        moved[name].append(total)

        def add(gradient: Tensor) -> None:
            total.add_(_mean_size(gradient), alpha=1 / probes)

        output.register_hook(add)

    with watched(model, linears, see) as embeddings:
        for batch in batches:
            last = model(**batch).logits[:, -1].float()
            sizes.append(len(last))
            for probe in range(probes):
                signs = torch.randint(0, 2, last.shape, generator=generator).mul(2).sub(1).to(last)
                total = (signs * last).sum() / len(last)
                torch.autograd.grad(total, embeddings(), retain_graph=probe + 1 < probes)
            del last, total
    if not sizes:
        raise DormantError("calibration is empty: score='dowser' needs at least one batch, or None to write its own.")
    return _Products(linears, moved, large, sizes)


def _mean_size(values: Tensor) -> Tensor:
    """Mean absolute value over batch and tokens: (B, T, D) → (D,)."""
    return values.float().abs().flatten(0, -2).mean(0).cpu()


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
    """abs(W) times the mean over samples of the outer products of their batch's (out,) and (in,) vectors."""

    def __init__(
        self,
        linears: Linears,
        outputs: dict[str, list[Tensor]],
        inputs: dict[str, list[Tensor]],
        sizes: Sequence[int],
    ) -> None:
        self.linears, self.outputs, self.inputs = linears, outputs, inputs
        self.shares = torch.tensor(sizes, dtype=torch.float32)[:, None] / sum(sizes)

    def __getitem__(self, name: str) -> Tensor:
        weight = self.linears[name].weight.detach()
        outputs = torch.stack(self.outputs[name]) * self.shares
        inputs = torch.stack(self.inputs[name])
        return weight.abs().float() * (outputs.mT @ inputs).to(weight.device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)
