"""Step time and peak memory of dormant tuning against LoRA, gradient-hook masking and full AdamW.

    python bench/dormant_step.py --out dormant_step.json

A Llama of 188M random weights (154M of them adapted), float32 on the CPU, AdamW, all seven projections of every layer,
2 x 128 tokens. LoRA's rank is the one that trains as many parameters as rows at this density; "frozen" trains one
vector before the first layer, the floor of whatever learns through the model. Every measurement runs in a fresh
process, the arms in turn; a step is forward, backward, optimizer step and zero_grad. Memory is the rise of the peak
resident set over a process that holds its imports.

Note:
    Masks are random, since speed does not depend on which weights are dormant; Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fresh import in_turn, spread, status, write

OTHERS = ("LoRA", "hooks", "full", "frozen")
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
REACH = {
    "step, rows / LoRA": "≤ 0.65",
    "step, weights / LoRA": "≤ 0.80",
    "step, directions / LoRA": "≤ 0.90",
    "memory, rows / LoRA": "≤ 1.0",
    "memory, rows / hooks": "≤ 0.6",
    "memory, rows / full": "≤ 0.6",
}


def decoder(layers: int, width: int) -> nn.Module:
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = max(1, width // 64)
    config = LlamaConfig(
        vocab_size=16384,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
    )
    return LlamaForCausalLM(config)


def dormant(structure: str) -> Callable[[nn.Module, float], nn.Module]:
    """An arm of ours."""

    def make(model: nn.Module, density: float) -> nn.Module:
        import pairalign as pa

        config = pa.DormantConfig(score="random", density=density, structure=structure)
        return pa.get_dormant_model(model, config)

    return make


def lora(model: nn.Module, density: float) -> nn.Module:
    """peft's LoRA with as many trained parameters."""
    from peft import LoraConfig, get_peft_model

    shapes = [m.weight.shape for n, m in model.named_modules() if n.rpartition(".")[2] in PROJECTIONS]
    rank = round(density * sum(o * i for o, i in shapes) / sum(o + i for o, i in shapes))
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=PROJECTIONS))


def hooks(model: nn.Module, density: float) -> nn.Module:
    """What most code does: a dense gradient, multiplied by a mask."""
    model.requires_grad_(False)
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in PROJECTIONS:
            module.weight.requires_grad_(True)
            mask = (torch.rand_like(module.weight) < density).float()
            module.weight.register_hook(lambda gradient, mask=mask: gradient * mask)
    return model


def frozen(model: nn.Module, density: float) -> nn.Module:
    """The floor of whatever learns through the model: only a vector added to the embeddings trains."""
    model.requires_grad_(False)
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    model.added = nn.Parameter(torch.zeros(embeddings.embedding_dim))
    embeddings.register_forward_hook(lambda module, args, output: output + model.added)
    return model


ARMS: dict[str, Callable[[nn.Module, float], nn.Module]] = {
    "rows": dormant("rows"),
    "columns": dormant("columns"),
    "weights": dormant("weights"),
    "directions": dormant("directions"),
    "LoRA": lora,
    "hooks": hooks,
    "full": lambda model, density: model,
    "frozen": frozen,
}


def measure(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """Median step time in seconds and peak memory in MiB of one arm, in this process."""
    import pairalign.dormant.model

    assert pairalign.dormant.model
    if arm == "LoRA":
        import peft

        assert peft
    from transformers import LlamaForCausalLM

    assert LlamaForCausalLM
    before = status("VmRSS")
    model = ARMS[arm](decoder(args.layers, args.width), args.density).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
    ids = torch.randint(0, 16384, (2, 128), generator=torch.Generator().manual_seed(0))
    Path("/proc/self/clear_refs").write_text("5")
    seconds, cpu, losses = [], [], []
    for _ in range(args.steps + 1):
        start, start_cpu = time.perf_counter(), time.process_time()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        losses.append(float(loss))
    return {
        "arm": arm,
        "step": statistics.median(seconds[1:]),
        "cpu": statistics.median(cpu[1:]),
        "memory": (status("VmHWM") - before) / 1024,
        "trained": sum(p.numel() for p in trained),
        "parameters": sum(p.numel() for p in model.parameters()),
        "losses": losses,
    }


def main() -> None:
    """Measure every arm in turn and print ratios, or one arm in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--arm", choices=list(ARMS), help="measure one arm in this process")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    if args.arm:
        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args.arm, args)))
        return
    names = ["density", "layers", "width", "steps", "threads"]
    records = in_turn(__file__, args, names, CUDA_VISIBLE_DEVICES="")
    report(records, args)


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print each arm, and the ratios run by run."""
    runs = {arm: [r for r in records if r["arm"] == arm] for arm in args.arms}
    for arm, found in runs.items():
        step, memory = spread([r["step"] for r in found], "s"), spread([r["memory"] for r in found], "MiB")
        print(f"{arm:11} step {step}   memory {memory}   trains {found[0]['trained']:,} of {found[0]['parameters']:,}")
    for kind in ("step", "cpu", "memory"):
        for arm in args.arms:
            for other in OTHERS:
                if arm != other and (arm not in OTHERS or other == "frozen") and other in runs:
                    ratios = [a[kind] / b[kind] for a, b in zip(runs[arm], runs[other], strict=True)]
                    label = f"{kind}, {arm} / {other}"
                    reach = f"   to reach {REACH[label]}" if label in REACH else ""
                    print(f"{label:28} {spread(ratios, 'x')}{reach}")
    write(args.out, args, records)


if __name__ == "__main__":
    main()
