"""What significance scores cost beside the passes that they need.

    python bench/scoring.py --out scoring.json

Splash and Wanda against one plain forward pass over the calibration set; Model-Dowser against one forward pass and its
probes' backward passes, to the embeddings, over the same prompts. In turn, in one process. Memory: the rise of the peak
resident set while a score is written to a file, over what the model took, in a fresh process each.

Note:
    A Llama of random weights and random tokens, float32 on the CPU; Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dormant_step import decoder
from fresh import spread, status
from pairalign.dormant.linears import find_linears
from pairalign.dormant.significance import save_scores, score_model

PROBES = 8
REACH = {"splash": "≤ 1.3", "dowser": "≤ 1.3"}


def batches(count: int) -> list[dict[str, Tensor]]:
    """Random tokens, 2 x 128."""
    draw = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(0, 16384, (2, 128), generator=draw)} for _ in range(count)]


def forward(model: nn.Module, data: list[dict[str, Tensor]]) -> None:
    """One plain pass."""
    with torch.no_grad():
        for batch in data:
            model(**batch)


def probe(model: nn.Module, data: list[dict[str, Tensor]]) -> None:
    """One forward pass and the probes' backward passes, for the embeddings' gradient only."""
    for batch in data:
        embedded = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()  # type: ignore[operator]
        last = model(inputs_embeds=embedded).logits[:, -1]
        for _ in range(PROBES):
            signs = torch.randint(0, 2, last.shape) * 2.0 - 1
            torch.autograd.grad((signs * last).sum(), embedded, retain_graph=True)


def seconds(work: Callable[[], Any]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def memory(score: str, args: argparse.Namespace) -> float:
    """Peak memory while a score is made and written, over that before it, divided by the bytes of the weights."""
    model = decoder(args.layers, args.width).eval().requires_grad_(False)
    linears, data = find_linears(model), batches(2)
    forward(model, data)  # what any pass takes is there before
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with tempfile.TemporaryDirectory() as folder:
        save_scores(score_model(score, model, linears, data), linears, Path(folder) / "s", progress=False)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return 1 + (status("VmHWM") - before) * 1024 / weights


def main() -> None:
    """Time each score and its passes in turn, then its memory in fresh processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", help="measure the memory of one score in this process")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(memory(args.memory, args)))
        return
    model = decoder(args.layers, args.width).eval().requires_grad_(False)
    linears, data = find_linears(model), batches(args.batches)
    few = data[: max(1, args.batches // 3)]
    arms: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "wanda": (lambda: score_model("wanda", model, linears, data), lambda: forward(model, data)),
        "splash": (lambda: score_model("splash", model, linears, data), lambda: forward(model, data)),
        "dowser": (lambda: score_model("dowser", model, linears, few, probes=PROBES), lambda: probe(model, few)),
    }
    record: dict[str, Any] = {}
    for name, (ours, passes) in arms.items():
        ours(), passes()
        ratios = [seconds(ours) / seconds(passes) for _ in tqdm(range(args.repeats), desc=name)]
        record[name] = {"time": ratios}
        reach = f"   to reach {REACH[name]}" if name in REACH else ""
        print(f"{name:8} time / passes {spread(ratios, 'x')}{reach}")
    for name in ("magnitude", *arms):
        command = [sys.executable, __file__, "--memory", name, f"--layers={args.layers}", f"--width={args.width}"]
        found = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(3)]
        record.setdefault(name, {})["memory"] = found
        print(f"{name:8} peak memory / weights {statistics.median(found):.3f}x [{min(found):.3f}, {max(found):.3f}]")
    if args.out:
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.replace(args.out)


if __name__ == "__main__":
    main()
