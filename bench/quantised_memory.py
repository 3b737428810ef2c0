"""Peak memory of a training step beside a base in bf16, int8 and nf4: dormant rows at a tenth, on the CPU.

    python bench/quantised_memory.py            # median of 3, a process each

A decoder of random weights, large enough that weights dominate, is saved once and loaded as a user would load it; each
process trains two steps with AdamW, the second of which has gradients and moments, and says the most that it ever had
in memory since the model was ready, less what it had before it was loaded.

Note:
    Masters, gradients and both moments are 16 bytes a trained weight whatever the base is kept in, so that at a tenth
    they weigh 1.6 bytes a weight of the base beside its 2 or 0.56.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

FORMS = ("bf16", "int8", "nf4")
MAPPED = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144"}  # what is freed is given back, not kept by glibc
WIDTH, INNER, LAYERS, VOCAB, TOKENS = 1536, 4096, 12, 1024, 64


def build(folder: Path) -> None:
    """A decoder of 340 million weights in its layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = {"num_attention_heads": 12, "num_key_value_heads": 12}
    sizes = {"vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(folder)


def resident(what: str = "VmRSS") -> int:
    """Bytes in memory now, or with VmHWM at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def trim() -> None:
    """Give back what is free, and count the most from here on."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(folder: str, form: str) -> dict[str, float]:
    """The peak of two steps, and what the model took before them."""
    from transformers import AutoModelForCausalLM

    import pairalign as pa
    from pairalign.dormant.quantised import is_plain
    from pairalign.sensors.quantise import loading_in, settle_base

    load_in = None if form == "bf16" else form
    how = loading_in(load_in)
    if load_in == "nf4":
        import bitsandbytes  # noqa: F401  # what packages themselves take is no part of it
    torch.ones(8, 8) @ torch.ones(8, 8)
    trim()
    before = resident()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **how)
    settle_base(model, folder, load_in)
    for parameter in model.parameters():  # what is still mapped would keep the pages of the whole file
        if is_plain(parameter):
            parameter.data = parameter.data.clone()
    model = pa.get_dormant_model(model, pa.DormantConfig(structure="rows", density=0.1, score="magnitude"))
    model.gradient_checkpointing_enable()
    model.train()
    trim()
    ready = resident()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(VOCAB, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    model.base_model.enable_input_require_grads()
    for _ in range(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"ready": ready - before, "peak": resident("VmHWM") - before, "whole": resident("VmHWM")}


def main() -> None:
    """Every form in turn, so that what else the machine does falls on all of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("FOLDER", "FORM"))
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(*args.only)))
        return
    found: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        for _ in range(args.runs):
            for form in FORMS:
                command = [sys.executable, __file__, "--only", folder, form]
                told = subprocess.run(command, check=True, capture_output=True, text=True, env=MAPPED)
                found[form].append(json.loads(told.stdout.splitlines()[-1]))
                print(form, found[form][-1], flush=True)
    base = statistics.median(one["peak"] for one in found["bf16"])
    for form, runs in found.items():
        peaks = [one["peak"] for one in runs]
        ready, whole = (statistics.median(one[kind] for one in runs) for kind in ("ready", "whole"))
        print(
            f"{form}: peak {statistics.median(peaks) / 2**30:.2f} GiB ({min(peaks) / 2**30:.2f} to "
            f"{max(peaks) / 2**30:.2f}), with Python and packages {whole / 2**30:.2f}; model and masters "
            f"{ready / 2**30:.2f}; peak / bf16 {statistics.median(peaks) / base:.3f}"
        )


if __name__ == "__main__":
    main()
