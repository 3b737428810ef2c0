"""Both stages end to end on one device, every verb with `--device`: where modules ran, and the CPU's figures beside.

    bash bench/gpu_run.sh OUT            on a GPU, about 100 seconds
    bash bench/gpu_run.sh OUT cpu        the same on the CPU alone: shows that it runs

Tiny models of real classes on the built-in world: a frozen anchor tower, trained encoders, a random base. A hook on
every module's forward pass notes its class and the devices of its own weights and of what it was given.

Note:
    The base is random, so that what it learns says nothing; losses and scores are what is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from pairalign.cli.main import main as pairalign

STEPS = 12
ASKED = {"answer": "{answer}"}
TOUCH = {"shards": "lessons/touch", "prompt": "{touch} {question}", **ASKED}
IMAGE = {"shards": "lessons/image", "prompt": "{image} {question}", **ASKED}
LOOSE, CLOSE = 0.05, 2e-3  # relative: after training, where rounding has grown, and before it


@dataclass
class Seen:
    """Forward passes by verb: how many modules ran, and which of them elsewhere."""

    device: str
    verb: str = ""
    ran: Counter[str] = field(default_factory=Counter)
    elsewhere: dict[str, Counter[str]] = field(default_factory=dict)

    def look(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """The hook of every module's forward pass; a picture's transforms belong to the loader, on the CPU."""
        if type(module).__module__.startswith("torchvision.transforms"):
            return
        tensors = (*module._parameters.values(), *module._buffers.values())
        own = [t.device.type for t in tensors if t is not None and t.ndim]  # a number alone may be read anywhere
        given = [a.device.type for a in args if isinstance(a, Tensor) and a.ndim]
        if own or given:
            self.ran[self.verb] += 1
        wrong = {kind for kind in (*own, *given) if kind != self.device}
        if wrong:
            self.elsewhere.setdefault(self.verb, Counter())[
                f"{type(module).__name__} on {'+'.join(sorted(wrong))}"
            ] += 1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, every forward pass is noted."""
        handle = register_module_forward_pre_hook(self.look)
        try:
            yield
        finally:
            handle.remove()


def make_data(folder: Path) -> None:
    """Pairs of the built-in world, questions about it, and a random base."""
    from pairalign.demo.base import build_base, build_processor
    from pairalign.demo.lessons import pack_lessons
    from pairalign.demo.run import DemoSize, demo_config, make_world

    if (folder / "done").exists():
        return
    torch.manual_seed(0)
    build_base(width=64, layers=2, vision_layers=1).save_pretrained(folder / "base")
    build_processor().save_pretrained(folder / "base")
    size = DemoSize(train=96, pool=32, steps=STEPS)
    make_world(folder / "pairs", demo_config(folder, size, 0), size, seed=0, progress=False)
    for name in ("touch", "image"):
        pack_lessons(folder / "lessons", name, {"train": 48, "val": 24})
    (folder / "done").touch()


def write_configs(data: Path, out: Path) -> tuple[Path, Path]:
    """One file of each stage; the touch encoder and the points' train, the image and text towers are cached anchors."""
    tower = {"options": {"config": "tiny"}, "tune": "none"}
    points = {"points": 256, "normals": True, "scale": 10, "channels": 16, "width": 64}
    one = {
        "modalities": {
            "image": {"encoder": "openclip_image", "views": 2, "head": "anchor", **tower},
            "text": {"encoder": "openclip_text", **tower},
            "touch": {"encoder": "touch_cnn", "options": {"size": 48, "channels": 16}},
            "points": {"encoder": "pointnet2", "options": {**points, "groups": [32, 8], "neighbours": [8, 8]}},
        },
        "edges": [
            {"between": list(edge), "shards": "-".join(edge)}
            for edge in (("image", "text"), ("image", "touch"), ("text", "points"))
        ],
        "out": str(out / "run"),
        "latent": {"shared": 32, "private": 16, "hidden": 64},
        "loss": {"noise": 0.0},  # drawn on the device, where the same seed gives other numbers
        "train": {"steps": STEPS, "batch_size": 24, "warmup": 2, "lr": 1e-3, "validate_every": 6},
        "data": {"root": str(data / "pairs"), "val_split": None},
    }
    two = {
        "base": str(data / "base"),
        "dtype": "float32",
        "root": str(data),
        "out": str(out / "taught"),
        "sensors": {"touch": {"run": str(out.resolve() / "run"), "tokens": 2}},
        "tasks": {"touch": TOUCH},
        "validation": {"touch": {**TOUCH, "split": "val"}},
        "held_out": {"image": {**IMAGE, "split": "val"}},
        "calibration": {"pictures": IMAGE},
        "calibration_size": 24,
        "dormant": {"score": "splash", "structure": "rows", "density": 0.25},
        "train": {"steps": STEPS, "batch_size": 8, "validate_every": 6, "warmup": 2, "lr": 3e-3},
    }
    paths = out / "align.yaml", out / "recompose.yaml"
    out.mkdir(parents=True, exist_ok=True)
    for path, values in zip(paths, (one, two), strict=True):
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return paths


def commands(data: Path, out: Path) -> dict[str, list[str]]:
    """Every verb that computes, in order."""
    one, two = (str(path) for path in write_configs(data, out))
    run, taught, pack = str(out / "run"), str(out / "taught"), str(out / "pack")
    calibration = ["--calibration", str(data / "lessons/image"), "--prompt", IMAGE["prompt"], "--count", "24"]
    question = ["--prompt", TOUCH["prompt"], "--reference", ASKED["answer"], "--split", "val", "--limit", "8"]
    base = ["--base", str(data / "base")]
    score = ["score", str(data / "base"), *calibration]
    return {
        "encoders check": ["encoders", "check", "touch_cnn"],
        "plan": ["plan", one],
        "align": ["align", one, "--quiet"],
        "evaluate": ["evaluate", run, "--pairs", str(data / "pairs/pool"), "--quiet"],
        "score": [*score, "--out", str(out / "splash.safetensors"), "--quiet"],
        "score dowser": [*score, "--method", "dowser", "--out", str(out / "dowser.safetensors"), "--quiet"],
        "dry-run": ["recompose", two, "--dry-run"],
        "recompose": ["recompose", two, "--max-forgetting", "100", "--quiet"],
        "directions": ["recompose", two, f"out={out / 'turned'}", "dormant.structure=directions", "--quiet"],
        "recomposition": ["recompose", two, f"out={out / 'reused'}", "method=bridge", "train.steps=0",
                          "sensors.touch.bridge=recomposition", "sensors.touch.images=pairs/image-touch",
                          "sensors.touch.image_count=32", "--quiet"],
        "export": ["export", taught, pack, "--merge"],
        "describe": ["describe", pack, "--pairs", str(data / "lessons/touch"), *question, *base, "--tokens", "8",
                     "--quiet"],
        "ask": ["ask", pack, "--touch", str(data / "touch.png"), "how hard is it?", *base, "--tokens", "8"],
    }  # fmt: skip


def run_all(data: Path, out: Path, device: str) -> tuple[Seen, dict[str, dict[str, float]], list[str]]:
    """Where modules ran by verb, figures by verb, and what failed."""
    seen, found, failed = Seen(torch.device(device).type), dict[str, dict[str, float]](), []
    for name, words in commands(data, out).items():
        seen.verb, said, start = name, io.StringIO(), time.perf_counter()
        try:
            with seen.watching(), contextlib.redirect_stdout(said):
                code = pairalign([*words, "--device", device])
            if code:
                failed.append(f"{name} on {device}: exit code {code}")
            found[name] = {"seconds": time.perf_counter() - start, **figures(name, out)}
        except Exception as error:  # the next verbs may still say something
            traceback.print_exc()
            failed.append(
                f"{name} on {device}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
            found[name] = {"seconds": time.perf_counter() - start}
        (out / f"{name.replace(' ', '_')}.txt").write_text(said.getvalue(), encoding="utf-8")
    return seen, found, failed


def figures(verb: str, out: Path) -> dict[str, float]:
    """What a verb left that can be compared; a leading ~ marks what comes after training."""
    from safetensors.torch import load_file

    if verb == "align":
        lines = [json.loads(line) for line in (out / "run/metrics.jsonl").read_text().splitlines()]
        losses = [line["train/loss"] for line in lines if "train/loss" in line]
        return {"first loss": losses[0], "~last loss": losses[-1]}
    if verb.startswith("score"):
        scores = load_file(out / f"{'dowser' if 'dowser' in verb else 'splash'}.safetensors")
        return {"mean of scores": float(torch.stack([score.double().mean() for score in scores.values()]).mean())}
    folder = {"recompose": "taught", "directions": "turned", "recomposition": "reused"}.get(verb)
    if folder is None:
        return {}
    results = json.loads((out / folder / "results.json").read_text())
    return {
        f"{mark}{when} {part}/{task}": score["loss"]
        for mark, when in (("" if verb != "recomposition" else "~", "base"), ("~", "after"))
        for part, tasks in results[when].items()
        for task, score in tasks.items()
    }


def compare(found: dict[str, dict[str, float]], beside: dict[str, dict[str, float]]) -> list[tuple[str, float, float]]:
    """(name, here, on the CPU) of the figures that are further apart than rounding explains."""
    apart = []
    for verb, values in found.items():
        for name, value in values.items():
            other = beside[verb].get(name, math.nan)
            bound = LOOSE if name.startswith("~") else CLOSE
            if name != "seconds" and not abs(value - other) <= bound * max(abs(other), 1e-3):
                apart.append((f"{verb}: {name}", value, other))
    return apart


def main() -> int:
    """Run on the device and on the CPU, print the table; 1 where something ran elsewhere, failed or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    start, data = time.perf_counter(), args.out / "data"
    make_data(data)
    if not (data / "touch.png").exists():
        from pairalign.data.world import World

        World(seed=1).sample(0, None, ("touch",))["touch"].save(data / "touch.png")
    print(f"made the data in {time.perf_counter() - start:.0f} s", flush=True)
    seen, found, failed = run_all(data, args.out / "device", args.device)
    beside = found if args.device == "cpu" else run_all(data, args.out / "cpu", "cpu")[1]
    print(f"{'verb':<16}{'modules':>9}{'elsewhere':>11}{args.device + ' s':>9}{'cpu s':>8}  figures (cpu)")
    for verb, values in found.items():
        shown = ", ".join(
            f"{name.lstrip('~')} {value:.4g} ({beside[verb].get(name, math.nan):.4g})"
            for name, value in values.items()
            if name != "seconds"
        )
        wrong = sum(seen.elsewhere.get(verb, Counter()).values())
        times = f"{values['seconds']:>9.1f}{beside[verb]['seconds']:>8.1f}"
        print(f"{verb:<16}{seen.ran[verb]:>9}{wrong:>11}{times}  {shown}")
    for verb, counts in seen.elsewhere.items():
        print(f"ELSEWHERE {verb}: {', '.join(f'{name} x {n}' for name, n in counts.most_common(6))}")
    apart = compare(found, beside)
    print(
        "\n".join([f"FAILED {line}" for line in failed] + [f"DIFFERS {n}: {a:.6g}, cpu {b:.6g}" for n, a, b in apart])
    )
    record = {"device": args.device, "ran": seen.ran, "elsewhere": seen.elsewhere, "found": found, "cpu": beside,
              "failed": failed, "differs": apart, "torch": torch.__version__}  # fmt: skip
    (args.out / "gpu_run.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    silent = [verb for verb in found if not seen.ran[verb]]
    print("\n".join(f"NOTHING RAN {verb}" for verb in silent if verb not in ("export",)))
    print(f"{time.perf_counter() - start:.0f} s in all")
    return 1 if failed or apart or seen.elsewhere else 0


if __name__ == "__main__":
    sys.exit(main())
