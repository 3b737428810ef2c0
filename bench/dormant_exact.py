"""What dormant tuning must hold exactly: critical weights, gradients, merging, size on disk, speed once merged.

    python bench/dormant_exact.py --out dormant_exact.json

A Llama with random weights, trained 200 steps on random tokens with AdamW (weight decay 0.1, momentum, gradient
clipping at 0.1) for every structure; nothing here says how well anything is learnt.

Note:
    Wanda's scores come from random tokens; the speed of generation is a median over runs in turn.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import pairalign as pa
from pairalign.dormant.checkpoint import WEIGHTS
from pairalign.dormant.updates import Replacement

STRUCTURES: dict[str, dict[str, Any]] = {
    "rows": {"structure": "rows"},
    "columns": {"structure": "columns"},
    "neurons": {"structure": "neurons", "target_modules": ("gate_proj", "up_proj", "down_proj")},
    "weights": {"structure": "weights"},
    "1:4": {"structure": "1:4"},
    "directions": {"structure": "directions"},
}


def decoder(seed: int, dtype: torch.dtype) -> nn.Module:
    """A Llama of 4 layers and 256 dimensions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def batches(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Random tokens, 4 x 64, that are their own labels."""
    draw = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(0, 512, (4, 64), generator=draw) for _ in range(count))
    return [{"input_ids": ids, "labels": ids} for ids in drawn]


def measure(name: str, seed: int, steps: int, dtype: torch.dtype) -> dict[str, Any]:
    """One structure with one seed."""
    base = decoder(seed, dtype)
    before = {n: p.detach().clone() for n, p in base.named_parameters()}
    dense = copy.deepcopy(base)
    config = pa.DormantConfig(score="wanda", density=0.1, **STRUCTURES[name])
    model = pa.get_dormant_model(base, config, batches(8, seed))
    first = batches(1, seed + 1)[0]
    dense(**first).loss.backward()
    model(**first).loss.backward()
    gradients = gradient_error(model, dense)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
    for batch in batches(steps, seed + 2):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        nn.utils.clip_grad_norm_(trained, 0.1)
        optimizer.step()
    with torch.no_grad():
        live = model(**first).logits
    changed, moved = changed_bits(model, before)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        size = (Path(folder) / WEIGHTS).stat().st_size
    updates = [u for u in model.updates("sensor").values() if isinstance(u, Replacement)]
    allowed = sum(dtype.itemsize * u.count + u.shape[0] * u.shape[1] / 8 for u in updates)
    merged = model.merge_and_unload()
    with torch.no_grad():
        after = merged(**first).logits
    return {
        "structure": name,
        "seed": seed,
        "dtype": str(dtype),
        "critical bits changed": changed,
        "dormant entries moved": moved,
        "gradient, relative": gradients,
        "merged logits, relative": float((after - live).norm() / live.norm()),
        "delta / (values + 1 bit)": size / allowed if allowed else None,
        "merged speed / base": generation_ratio(merged, decoder(seed, dtype)),
    }


def gradient_error(model: pa.DormantModel, dense: nn.Module) -> float:
    """Largest relative error (Frobenius) of a packed gradient against the dense one's part."""
    modules = dict(dense.named_modules())
    worst = 0.0
    for name, update in model.updates("sensor").items():
        gradient = modules[name].weight.grad.float()  # type: ignore[union-attr, operator]
        wanted = update.take(gradient) if isinstance(update, Replacement) else gradient @ update.basis
        assert update.values.grad is not None
        worst = max(worst, float((update.values.grad - wanted).norm() / wanted.norm()))
    return worst


def changed_bits(model: pa.DormantModel, before: dict[str, Tensor]) -> tuple[int, int]:
    """Bits of the base's critical weights that differ, and dormant entries that differ."""
    masks = model.masks("sensor")
    bits = moved = 0
    for name, parameter in model.base_model.named_parameters():
        if ".updates." in name:
            continue
        kind = torch.int16 if parameter.element_size() == 2 else torch.int32
        different = parameter.detach().view(kind) ^ before[name].view(kind)
        mask = masks.get(name.removesuffix(".weight"))
        if mask is not None:
            moved += int((different[mask.bitmap()] != 0).sum())
            different = different[~mask.bitmap()]
        bits += sum(int((different >> place & 1).sum()) for place in range(8 * parameter.element_size()))
    return bits, moved


def generation_ratio(one: nn.Module, other: nn.Module, repeats: int = 9) -> float:
    """Median ratio of tokens per second, the two in turn."""
    prompt = torch.arange(16)[None]
    ratios = []
    for _ in range(repeats):
        seconds = []
        for model in (one, other):
            start = time.perf_counter()
            model.generate(prompt, min_new_tokens=32, max_new_tokens=32, do_sample=False)  # type: ignore[operator]
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def main() -> None:
    """Measure every structure and print the worst of each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    jobs = [(name, seed) for name in STRUCTURES for seed in range(args.seeds)]
    records = [measure(name, seed, args.steps, getattr(torch, args.dtype)) for name, seed in tqdm(jobs, unit="run")]
    for name in STRUCTURES:
        found = [record for record in records if record["structure"] == name]
        shown = []
        for figure in list(found[0])[3:]:
            values = [record[figure] for record in found if record[figure] is not None]
            shown.append(f"{figure} {min(values):.3g} to {max(values):.3g}" if values else f"{figure} –")
        print(f"{name:11}", "; ".join(shown))
    if args.out:
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(records, indent=1))
        partial.replace(args.out)


if __name__ == "__main__":
    main()
