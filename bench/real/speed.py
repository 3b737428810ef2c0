"""Seconds a step and peak memory by arm, tokens a second of answers, seconds of scoring: on the real base.

Every repetition runs in a process of its own, the arms in turn; a table has medians with the lowest and highest.

Note:
    A step is from the start of one to the start of the next, reading included, the first left out. CPU seconds are what
    to compare on a machine that is shared. Steps are of touches with one question, a batch of eight; the prefix is what
    stands before the touch. Peaks are of the steps, answers or scoring alone, the base in them, without what reading
    the base needs for a moment; Linux alone tells them.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fresh import status
from real.arms import ALWAYS, BRIDGE, FULL, SENSOR, Arm
from real.contacts import WHICH
from real.settings import Run, settings

STEPS, TOKENS, REPEATS = 4, 32, 3
LORA = Arm("LoRA r 8", "lora", options={"rank": 8})
STEPPED: dict[str, Arm] = {
    "full": FULL,
    "LoRA r 8": LORA,
    "rows, from the sensor on": SENSOR,
    "rows, from the sensor on, prefix not kept": replace(SENSOR, train={"prefix_memory": 0.0}),
    "rows, always": ALWAYS,
    "bridge only": BRIDGE,
}


def measure_speed(
    run: Run, pack: Path, touch: Path, work: Path, repeats: int = REPEATS, steps: int = STEPS
) -> dict[str, Any]:
    """All records, made as far as they are missing, in WORK/speed.json. run: of touches; pack: its; touch: a file."""
    from pairalign.files import write_json

    path = work / "speed.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    jobs: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        name: (stepped, (run._replace(arm=arm), work, steps)) for name, arm in STEPPED.items()
    }
    jobs |= {"answers": (answered, (pack, touch, work, run.dtype)), "scoring": (scored, (run, work))}
    for repeat in range(repeats):
        for name, (measure, told) in jobs.items():
            key = f"{name} {repeat} {run.dtype}"
            if key not in found:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found[key] = {"name": name, "dtype": run.dtype, **pool.submit(measure, *told).result()}
                print(f"{key}: {json.dumps({k: v for k, v in found[key].items() if k != 'name'})}", flush=True)
                write_json(path, found, indent=1)
    return found


def stepped(run: Run, work: Path, steps: int) -> dict[str, Any]:
    """Seconds and CPU seconds of each step after the first, and the peak memory in GiB."""
    import torch

    from pairalign import RecomposeConfig, load_config, recompose_mllm
    from pairalign.finetune.module import StageTwo

    torch.set_num_threads(1)
    told, times, peaks = settings(run, work), list[tuple[float, float]](), list[float]()
    step = StageTwo.training_step
    train = {**told["train"], "steps": steps + 2, "warmup": 1, "measure_with_signals": False}

    def timed(self: Any, *args: Any) -> Any:
        if not times:
            _forget_peak()
        times.append((time.perf_counter(), time.process_time()))
        return step(self, *args)

    StageTwo.training_step = timed  # type: ignore[method-assign]

    def ended(self: Any) -> None:
        peaks.append(_peak())

    StageTwo.on_train_end = ended  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        told |= {"out": f"{folder}/run", "validation": {}, "held_out": {}, "train": train}
        recompose_mllm(load_config(RecomposeConfig, told), progress=False)
    pairs = list(itertools.pairwise(times[1:]))
    found = {"seconds": [b[0] - a[0] for a, b in pairs], "cpu": [b[1] - a[1] for a, b in pairs]}
    return {**found, "peak_gib": peaks[0]}


def answered(pack: Path, touch: Path, work: Path, dtype: str) -> dict[str, Any]:
    """CPU seconds and seconds a token, of the base alone, of the model without a signal, and with one; in turn."""
    import torch

    from pairalign import answer, load_sensor_model, read_signal
    from pairalign.sensors.processor import load_base

    torch.set_num_threads(1)
    model, processor = load_sensor_model(str(work / "base"), [pack], dtype=dtype)
    plain, _ = load_base(str(work / "base"), dtype)
    shown = read_signal(touch)
    text = processor.apply_chat_template([{"role": "user", "content": WHICH}], add_generation_prompt=True)
    inputs = {k: v for k, v in processor(text).items() if k in ("input_ids", "attention_mask")}
    exact = {"min_new_tokens": TOKENS, "do_sample": False}
    ways: dict[str, Callable[[], Any]] = {
        "base": lambda: plain.generate(**inputs, max_new_tokens=TOKENS, **exact),
        "without a signal": lambda: answer(model, processor, WHICH, tokens=TOKENS, **exact),
        "with a signal": lambda: answer(model, processor, WHICH, signals={"touch": [shown]}, tokens=TOKENS, **exact),
    }
    found: dict[str, Any] = {name: {"seconds": [], "cpu": []} for name in ways}
    _forget_peak()
    for repeat in range(3):
        for name, way in ways.items():
            start = time.perf_counter(), time.process_time()
            way()
            if repeat:
                found[name]["seconds"].append((time.perf_counter() - start[0]) / TOKENS)
                found[name]["cpu"].append((time.process_time() - start[1]) / TOKENS)
    return {**found, "peak_gib": _peak()}


def scored(run: Run, work: Path) -> dict[str, Any]:
    """Seconds of Splash's score on the run's calibration set."""
    import torch

    from pairalign import RecomposeConfig, load_config
    from pairalign.dormant.significance import score_model
    from pairalign.finetune.score_recipe import load_scored

    torch.set_num_threads(1)
    config = load_config(RecomposeConfig, settings(run, work))
    llm, linears, shown = load_scored(config, torch.device("cpu"))
    _forget_peak()
    start = time.perf_counter(), time.process_time()
    score_model("splash", llm, linears, shown, seed=0)
    took = {"seconds": [time.perf_counter() - start[0]], "cpu": [time.process_time() - start[1]]}
    return {**took, "samples": 3 * config.calibration_size, "peak_gib": _peak()}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    return status("VmHWM") / 2**20


def speed_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Medians with spread; of steps also the ratio to LoRA's."""
    rows, middles = _gathered(found), medians(found)
    lora = {dtype: middle for (name, dtype), middle in middles.items() if name == LORA.name}
    lines = ["| what | repetitions | CPU s (lowest to highest) | s | / LoRA's | peak GiB |", f"|{'---|' * 6}"]
    for (name, dtype), one in rows.items():
        middle = middles[name, dtype]
        ratio = f"{middle / lora[dtype]:.2f}" if name in STEPPED and dtype in lora else "–"
        said = f"{name}, {'a step' if name in STEPPED else f'{1 / middle:.1f} tokens a CPU second'}"
        said = said if "scoring" not in name else "scoring"
        spread = f"{middle:.3g} ({min(one['cpu']):.3g} to {max(one['cpu']):.3g})"
        seconds = statistics.median(one["seconds"])
        peak = "–" if "answers" in name else f"{statistics.median(one['peak']):.2f}"  # two models were in that process
        told = "" if dtype == "float32" else f", {dtype}"
        lines.append(f"| {said}{told} | {len(one['peak'])} | {spread} | {seconds:.3g} | {ratio} | {peak} |")
    return "\n".join(lines)


def medians(found: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """CPU seconds by what was measured and dtype."""
    return {key: statistics.median(one["cpu"]) for key, one in _gathered(found).items()}


def _gathered(found: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, list[float]]]:
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for record in found.values():
        parts: Sequence[tuple[str, Any]] = [(record["name"], record)]
        if record["name"] == "answers":
            parts = [(f"answers, {way}", one) for way, one in record.items() if isinstance(one, dict)]
        for name, one in parts:
            row = rows.setdefault((name, record["dtype"]), {"cpu": [], "seconds": [], "peak": []})
            row["cpu"] += one["cpu"]
            row["seconds"] += one["seconds"]
            row["peak"].append(record["peak_gib"])
    return rows
