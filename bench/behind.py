"""What a step costs whose weights act from the sensor on, against LoRA; and what asking costs, against the bare model.

    python bench/behind.py --out behind.json                     # CPU, a decoder of about 190M random weights
    python bench/behind.py --arms "pictures, anew" "pictures, kept" --tower 12x768
    python bench/behind.py --device cuda --width 2048 --layers 36 --dtype bfloat16 --out behind.json

A LLaVA around a Llama of random weights reads prompts of --before tokens, a touch of 10 tokens, and the rest of
--behind tokens, the last 16 of them the answer; "first" has the touch at the first place and all else behind it. Arms:
rows at --density that act from the sensor on, on whole prompts, with what stands before read anew at every step without
a graph, and with it kept; rows that act always; and peft's LoRA of as many parameters. A step is forward, backward,
AdamW step and zero_grad; the bridge trains in every arm. Every measurement runs in a fresh process, the arms in turn.
"pictures" are prompts of a touch and, behind it, a picture of 576 tokens, which the frozen vision tower (--tower,
layers and width) reads at every step or once.
Memory is the rise of the peak resident set over a process that holds its imports, or the device's own count.
"generate" asks 8 times for 32 tokens behind a prompt of --before tokens: the bare model, the model with its taught
sensor and no signal, and with one.

Note:
    Weights are random, since speed does not depend on them; Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dormant_step import lora
from fresh import in_turn, spread, status, write

ARMS = ("LoRA", "always", "whole", "anew", "kept", "LoRA, first", "always, first", "sensor, first", "generate")
PICTURES = ("pictures, anew", "pictures, kept")
VOCAB, TOUCH, ANSWER, SIGNAL = 16384, 16390, 16, 10
SIDE, PATCH = 336, 14
SEEN = (SIDE // PATCH) ** 2
REACH = {
    "step, kept / LoRA": "≤ 0.20",
    "step, anew / LoRA": "≤ 0.50",
    "memory, anew / LoRA": "≤ 0.50",
    "step, sensor, first / LoRA, first": "≤ 0.90",
}


def base(args: argparse.Namespace) -> nn.Module:
    """A LLaVA with random weights."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    heads = args.width // 64
    text = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=args.width,
        intermediate_size=args.width * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
    )
    layers, width = map(int, args.tower.split("x"))
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, width // 64),
    }
    vision = CLIPVisionConfig(**sizes, image_size=SIDE, patch_size=PATCH)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=VOCAB - 1)
    with torch.device(args.device):
        return LlavaForConditionalGeneration._from_config(config, dtype=getattr(torch, args.dtype)).eval()


def sensed(llm: nn.Module) -> Any:
    """The model with a sense of touch that takes `SIGNAL` tokens."""
    from pairalign import create_encoder
    from pairalign.align.latents import LatentHead
    from pairalign.sensors.model import SensorModel
    from pairalign.sensors.sensor import Sensor, build_bridge

    encoder = create_encoder("touch_cnn", size=16, channels=4, width=8)
    head = LatentHead(encoder.width, 6, 4, 0)
    model = SensorModel(llm)
    model.add("touch", Sensor(encoder, head, build_bridge(encoder, head, llm, "mlp", SIGNAL - 2)), TOUCH)
    return model


def adapted(arm: str, llm: nn.Module, density: float) -> nn.Module:
    """The language model as an arm trains it."""
    import pairalign as pa

    if arm.startswith("LoRA"):
        llm.requires_grad_(False)
        lora(llm.model.language_model, density)  # type: ignore[union-attr,arg-type]
        return llm
    acts: Any = "always" if arm.startswith("always") else "sensor"
    return pa.get_dormant_model(
        llm, pa.DormantConfig(score="random", structure="rows", density=density, acts=acts), sensor="touch"
    )


def prompts(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """A batch of prompts of ids, as the model takes them."""
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(3, VOCAB - 1, (args.batch, args.before + args.behind), generator=draw)
    start = 1 if arm.endswith("first") else args.before
    words[:, start : start + SIGNAL] = TOUCH
    more = {}
    if arm in PICTURES:
        words = torch.randint(3, VOCAB - 1, (args.batch, 1 + SIGNAL + SEEN + args.behind), generator=draw)
        words[:, 1 : 1 + SIGNAL], words[:, 1 + SIGNAL : 1 + SIGNAL + SEEN] = TOUCH, VOCAB - 1
        pixels = torch.randn(args.batch, 3, SIDE, SIDE, generator=draw)
        more["pixel_values"] = pixels.to(args.device, getattr(torch, args.dtype))
    ids = words.to(args.device)
    touches = torch.rand(args.batch, 1, 4, 16, 16, generator=draw).to(args.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "signals": {"touch": touches}, **more}


def measure(arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """Median step time in seconds and peak memory in MiB of one arm, in this process."""
    from pairalign.sensors.prefix import Prefixes
    from pairalign.sensors.vision import VisionMemory

    if arm == "generate":
        return generate(args)
    before = status("VmRSS")
    model = sensed(base(args))
    model.llm = adapted(arm, model.llm, args.density)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    inputs, prefixes = prompts(arm, args), Prefixes(gib=8.0 if arm == "kept" else 0.0)
    keys = [str(n) for n in range(args.batch)] if arm == "kept" else None
    memory = VisionMemory(8.0) if arm == "pictures, kept" else None
    cuda = args.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    model.train()
    seconds, losses = [], []
    for _ in range(args.steps + args.warm):
        start = time.perf_counter()
        logits: Tensor | None = None
        if arm in ("anew", "kept"):
            logits = prefixes.logits(model, inputs, ANSWER + 1, keys)
            assert logits is not None
        else:
            with nullcontext() if memory is None else memory.reading(model.llm):
                logits = model(**inputs, logits_to_keep=ANSWER + 1).logits
        loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), inputs["input_ids"][:, -ANSWER:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        seconds.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else (status("VmHWM") - before) / 1024
    return {
        "arm": arm,
        "step": statistics.median(seconds[args.warm :]),
        "memory": memory,
        "trained": sum(p.numel() for p in trained),
        "parameters": sum(p.numel() for p in model.llm.parameters()),
        "losses": losses,
    }


@torch.no_grad()
def generate(args: argparse.Namespace) -> dict[str, Any]:
    """Medians of each kind of question, asked in turn."""
    model = sensed(base(args))
    bare = model.llm
    plain = prompts("always", args)
    plain = {name: value[:, : args.before] for name, value in plain.items() if name != "signals"}
    touched = {**plain, "input_ids": plain["input_ids"].clone()}
    touched["input_ids"][:, args.before - 40 : args.before - 40 + SIGNAL] = TOUCH
    touched["signals"] = prompts("always", args)["signals"]
    how = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
    model.llm = adapted("sensor", bare, args.density)
    taught, found = model.llm, {"bare": [], "without": [], "with": []}  # type: ignore[var-annotated]
    for _ in range(args.asked + 1):
        for name, given in (("bare", plain), ("without", plain), ("with", touched)):
            taught.uninstall("touch") if name == "bare" else None  # type: ignore[operator]
            start = time.perf_counter()
            bare.generate(**given, **how) if name == "bare" else model.generate(**given, **how)  # type: ignore[operator]
            found[name].append(time.perf_counter() - start)
            if name == "bare":
                model.llm = taught = adapted("sensor", bare, args.density)
    return {"arm": "generate", **{name: statistics.median(values[1:]) for name, values in found.items()}}


def main() -> None:
    """Measure every arm in turn and print ratios, or one arm in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tower", default="1x32", help="layers x width of the vision tower")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--before", type=int, default=600)
    parser.add_argument("--behind", type=int, default=60)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--asked", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--arms", nargs="+", choices=(*ARMS, *PICTURES), default=list(ARMS))
    parser.add_argument("--arm", choices=(*ARMS, *PICTURES), help="measure one arm in this process")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    if args.arm:
        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args.arm, args)))
        return
    names = [name for name in vars(args) if name not in ("arm", "arms", "out", "repeats")]
    records = in_turn(__file__, args, names)
    report(records, args)


def report(records: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print each arm, and the ratios run by run."""
    runs = {arm: [r for r in records if r["arm"] == arm] for arm in args.arms}
    asked = runs.pop("generate", [])
    for arm, found in runs.items():
        step, memory = spread([r["step"] for r in found], "s"), spread([r["memory"] for r in found], "MiB")
        print(f"{arm:14} step {step}   memory {memory}   trains {found[0]['trained']:,} of {found[0]['parameters']:,}")
    for kind in ("step", "memory"):
        for arm in runs:
            other = PICTURES[0] if arm in PICTURES else "LoRA, first" if arm.endswith("first") else "LoRA"
            if arm != other and other in runs:
                ratios = [a[kind] / b[kind] for a, b in zip(runs[arm], runs[other], strict=True)]
                label = f"{kind}, {arm} / {other}"
                reach = f"   to reach {REACH[label]}" if label in REACH else ""
                print(f"{label:36} {spread(ratios, 'x')}{reach}")
    for name, reach in (("with", "≤ 1.10"), ("without", "≤ 1.02")):
        if asked:
            ratios = [one[name] / one["bare"] for one in asked]
            print(f"{f'generate, {name} a sensor / bare':36} {spread(ratios, 'x')}   to reach {reach}")
    write(args.out, args, records)


if __name__ == "__main__":
    main()
