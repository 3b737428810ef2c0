"""Step time, peak memory and scoring on a Qwen2.5-VL-shaped model of random weights, in bf16 on one GPU.

    bash bench/gpu.sh OUT

Arms: dormant rows, weights and directions at 10 % and rows and weights at 60 %, LoRA that trains as many parameters,
and gradient-hook masking with bf16 weights and moments, as such code does it. A step is forward, backward, AdamW step
and zero_grad over 1 x 1024 tokens of text; the median is over 20 of them, after 5 that warm up. All arms run in one
process, the most telling first, each on a model of its own; the one before is freed and the peak counted anew.

Note:
    Random weights and tokens; masks are drawn on the device, for the steps do not ask what they are worth. `--size toy`
    runs on the CPU in seconds and says nothing about speed.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pairalign import DormantConfig, get_dormant_model
from pairalign.dormant.linears import find_linears
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.units import lowest
from pairalign.dormant.significance import score_model

ARMS = ("rows 0.1", "lora 0.1", "hooks 0.1", "weights 0.1", "directions 0.1", "score splash", "score dowser",
        "rows 0.6", "lora 0.6", "hooks 0.6", "weights 0.6")  # fmt: skip
WARM = 5
SIZES: dict[str, dict[str, Any]] = {
    "toy": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 256},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
           "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
}  # fmt: skip


def build(size: str, device: str) -> nn.Module:
    """Random weights of Qwen2.5-VL's class, in bf16."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = SIZES[size]
    head = text["hidden_size"] // text["num_attention_heads"] // 2
    rope = {"rope_type": "default", "mrope_section": [head // 4, head * 3 // 8, head * 3 // 8], "rope_theta": 1e6}
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "fullatt_block_indexes": [1]}
    vision["out_hidden_size"] = text["hidden_size"]
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope, "rope_scaling": rope}, vision_config=vision, **_ids(size)
    )
    with torch.device(device):
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return model.to(device)


def _ids(size: str) -> dict[str, int]:
    last = SIZES[size]["vocab_size"] - 1
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {name: last - n for n, name in enumerate(names)}


def prepare(arm: str, model: nn.Module) -> nn.Module:
    """The model as one arm trains it."""
    kind, density = arm.split()[0], float(arm.split()[1])
    linears = find_linears(model)
    if kind in ("rows", "weights", "directions"):
        config = DormantConfig(score="random", structure=kind, density=density)
        masks = None if kind == "directions" else {n: draw_mask(kind, m.weight, density) for n, m in linears.items()}
        return get_dormant_model(model, config, masks=masks)
    model.requires_grad_(False)
    if kind == "lora":
        from peft import LoraConfig, get_peft_model

        shapes = [m.weight.shape for m in linears.values()]
        rank = round(density * sum(o * i for o, i in shapes) / sum(o + i for o, i in shapes))
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=list(linears)))
    for module in linears.values():
        module.weight.requires_grad_(True)
        mask = torch.rand_like(module.weight) < density
        module.weight.register_hook(lambda gradient, mask=mask: gradient * mask)
    return model


def draw_mask(kind: str, weight: torch.Tensor, density: float) -> Mask:
    """Exactly the share `density` of the rows or entries of a weight, drawn on its device."""
    rows, columns = weight.shape
    if kind == "rows":
        index = torch.randperm(rows, device=weight.device)[: round(density * rows)].sort().values
        return Mask("rows", (rows, columns), index)
    drawn = torch.rand(rows * columns, device=weight.device)
    return Mask("entries", (rows, columns), lowest(drawn, round(density * len(drawn))).view(rows, columns))


def measure_step(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a step, peak memory in GiB, and what trains."""
    start = _now(args.device)
    base = build(args.size, args.device)
    count, built = sum(p.numel() for p in base.parameters()), _now(args.device) - start
    model = prepare(arm, base).train()
    prepared = _now(args.device) - start - built
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01, fused=args.device == "cuda" or None)
    ids = torch.randint(0, 200, (1, args.tokens), device=args.device)
    seconds = []
    for _ in range(WARM + args.steps):
        start = _now(args.device)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(_now(args.device) - start)
    return {
        "arm": arm,
        "step": statistics.median(seconds[WARM:]),
        "least": min(seconds[WARM:]),
        "most": max(seconds[WARM:]),
        "memory": _peak(args.device),
        "trained": sum(p.numel() for p in trained),
        "base": count,
        "build": built,
        "prepare": prepared,
    }


def measure_score(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a score over those of the passes that it needs, on 4 batches."""
    name, model = arm.split()[1], build(args.size, args.device).eval()
    model.requires_grad_(False)
    linears = find_linears(model)
    batches = [{"input_ids": torch.randint(0, 200, (2, args.tokens // 2), device=args.device)} for _ in range(4)]
    probes = {"probes": 4} if name == "dowser" else {}

    def passes() -> None:
        for batch in batches:
            if name == "splash":
                with torch.no_grad():
                    model(**batch)
                continue
            embedded = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()  # type: ignore[operator]
            last = model(inputs_embeds=embedded).logits[:, -1].float()
            for probe in range(probes["probes"]):
                torch.autograd.grad((last * probe).sum(), embedded, retain_graph=True)

    def score() -> None:
        scores = score_model(name, model, linears, batches, **probes)
        next(iter(scores.values()))

    times: dict[str, list[float]] = {"passes": [], "score": []}
    for n in range(4):
        for label, work in (("passes", passes), ("score", score)):
            start = _now(args.device)
            work()
            if n:
                times[label].append(_now(args.device) - start)
    ratios = [a / b for a, b in zip(times["score"], times["passes"], strict=True)]
    return {"arm": arm, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
            "memory": _peak(args.device)}  # fmt: skip


def run_arm(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """One arm; memory that the one before left is given back first."""
    gc.collect()
    if args.device == "cuda":
        torch.cuda.empty_cache()
    _reset_peak(args.device)
    start = _now(args.device)
    try:
        found = (measure_score if arm.startswith("score") else measure_step)(arm, args)
    except RuntimeError as error:  # out of memory, as a rule; the next arms may fit
        return {"arm": arm, "failed": str(error)[:300]}
    return {**found, "seconds": _now(args.device) - start}


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Every arm, with the results so far written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("gpu_step.json"))
    args = parser.parse_args()
    card = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    records = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for arm in tqdm(args.arms, desc=card):
        records.append(run_arm(arm, args))
        print(json.dumps(records[-1]), flush=True)
        record = {"card": card, "size": args.size, "tokens": args.tokens, "steps": args.steps, "arms": records}
        args.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
