"""InfoNCE against open_clip's ClipLoss: same value and gradients, peak memory, time.

    python bench/contrastive_memory.py --out contrastive_memory.json

Memory is the rise of the peak resident set, forward plus backward, float32 on the CPU, over a process that
already holds its imports and inputs and was warmed up on a tiny batch. Each measurement runs in a fresh
process, the two losses in turn. The peak (VmHWM) is reset through /proc/self/clear_refs right before, so that
nothing that the imports once used can hide it; unlike a profiler of tensor allocations it also counts the
buffers of the matrix library.

Note:
    Linux only, and wall time means little on a shared machine; CPU time is given beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from pairalign.align.contrastive import info_nce

LOSSES = ("ClipLoss", "info_nce")
SCALE = 1 / 0.07


def inputs(batch: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return two sets of unit vectors (B, D), loosely paired, and the logit scale; all need gradients."""
    random = torch.Generator().manual_seed(0)
    a = torch.randn(batch, dim, generator=random, dtype=dtype)
    b = a + 4 * torch.randn(batch, dim, generator=random, dtype=dtype)  # cosine about 0.24: far from solved
    leaves = (F.normalize(a, dim=1), F.normalize(b, dim=1), torch.tensor(SCALE, dtype=dtype))
    return tuple(leaf.requires_grad_() for leaf in leaves)  # type: ignore[return-value]


def compute(name: str, leaves: tuple[Tensor, Tensor, Tensor], chunk: int) -> Tensor:
    """Return the loss of that name."""
    if name == "info_nce":
        return info_nce(*leaves, chunk=chunk)
    from open_clip.loss import ClipLoss

    return ClipLoss()(*leaves)


def agreement(batch: int, dim: int, dtype: torch.dtype, chunk: int) -> dict[str, float]:
    """Return the largest absolute differences, and those of the gradients relative to the largest entry."""
    found = {}
    for name in LOSSES:
        leaves = inputs(batch, dim, dtype)
        value = compute(name, leaves, chunk)
        found[name] = (value.detach(), *torch.autograd.grad(value, leaves))
    result = {}
    for part, one, other in zip(("value", "grad_a", "grad_b", "grad_scale"), *found.values(), strict=True):
        result[f"{part}_difference"] = float((one - other).abs().max())
        result[f"{part}_relative"] = float((one - other).abs().max() / one.abs().max())
    return result


def resident(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: this benchmark needs Linux.")


def measure(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Run one loss once, in this process, and return its memory in bytes and its times in seconds."""
    torch.set_num_threads(args.threads)
    compute(name, inputs(64, args.dim), args.chunk).backward()  # loads the kernels
    leaves = inputs(args.batch, args.dim)
    Path("/proc/self/clear_refs").write_text("5")
    before, wall, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    compute(name, leaves, args.chunk).backward()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"memory": resident("VmHWM") - before, "wall": wall, "cpu": cpu}


def repeat(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Measure both losses in turn, each time in a fresh process."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    settings = [f"--{key}={getattr(args, key)}" for key in ("batch", "dim", "chunk", "threads")]
    for name in tqdm([*LOSSES] * args.repeats, desc="fresh processes"):
        command = [sys.executable, __file__, f"--measure={name}", *settings]
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        rows[name].append(json.loads(out.stdout))
    return rows


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}


def report(args: argparse.Namespace) -> dict[str, object]:
    """Measure everything and print the tables."""
    torch.set_num_threads(args.threads)
    rows = repeat(args)
    table = {
        name: {what: summary([row[what] for row in measured]) for what in ("memory", "wall", "cpu")}
        for name, measured in rows.items()
    }
    ratio = {
        what: summary([o[what] / c[what] for c, o in zip(rows["ClipLoss"], rows["info_nce"], strict=True)])
        for what in ("memory", "wall", "cpu")
    }
    same = {str(dtype): agreement(args.batch, args.dim, dtype, args.chunk) for dtype in (torch.float32, torch.float64)}
    print(f"batch {args.batch} x {args.dim}, float32, chunk {args.chunk}, {args.threads} threads:")
    print("median [lowest, highest]")
    for what, unit, scale in (("memory", "MiB", 2**20), ("wall", "s", 1), ("cpu", "s", 1)):
        cells = [f"{name} {_cell(table[name][what], scale)} {unit}" for name in LOSSES]
        print(f"  {what:6}  {'   '.join(cells)}   ratio {_cell(ratio[what], 1)}")
    for dtype, parts in same.items():
        print(f"  {dtype}: " + ", ".join(f"{name} {value:.1e}" for name, value in parts.items()))
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpus": os.cpu_count()}
    settings = {key: getattr(args, key) for key in ("batch", "dim", "chunk", "threads", "repeats")}
    return {"settings": settings, "machine": machine, "table": table, "ratio": ratio, "agreement": same}


def _cell(values: dict[str, float], scale: float) -> str:
    return "{median:.3g} [{low:.3g}, {high:.3g}]".format(**{k: v / scale for k, v in values.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--batch", type=int, default=8192, help="pairs")
    parser.add_argument("--dim", type=int, default=512, help="dimensions")
    parser.add_argument("--chunk", type=int, default=1024, help="rows at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes per loss")
    parser.add_argument("--measure", choices=LOSSES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args)))
        return
    figures = json.dumps(report(args), indent=2)
    if args.out:
        temporary = args.out.with_name(args.out.name + ".part")
        temporary.write_text(figures + "\n")
        os.replace(temporary, args.out)


if __name__ == "__main__":
    main()
