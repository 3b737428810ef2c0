"""A plan without weights as a page for the terminal, as JSON, and as a row of the recipes' table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pairalign.dormant.linears import layer_of
from pairalign.dormant.plan import LayerPlan, aligned, format_bytes
from pairalign.dormant.selection.relevant import neuron_rows
from pairalign.finetune.recipe_plan import MetaPlan

HEADS = ("recipe", "base", "weights that train", "of the layers", "of the model", "memory", "delta", "TFLOP a step")


def page(plan: MetaPlan, tflops: float | None = None) -> str:
    """Counts by kind of module, memory, delta, arithmetic and, at a speed in TFLOP/s, hours."""
    dtype = str(plan.dtype).removeprefix("torch.")
    kept = f"{dtype}, linear layers in {plan.load_in}" if plan.load_in else dtype
    lines = [f"{plan.model}: {plan.parameters:,} parameters in {kept}", ""]
    lines += aligned([("module", "layers", "entries", "dormant", "share"), *kinds(plan.layers)])
    if not plan.exact:
        lines += ["about: the split over layers depends on scores; each stands at the mean share"]
    lines += ["", *aligned(neuron_rows(plan.neurons))] if plan.neurons else []
    sums = {
        "base weights": plan.base_bytes,
        "masters, gradients, moments": sum(layer.each * layer.trained for layer in plan.layers),
        "places": sum(layer.places for layer in plan.layers),
        "copies kept": sum(layer.kept for layer in plan.layers),
        "activations (estimate, decoder only)": plan.activations,
        **({"before the sensor, kept (at most)": plan.kept[0]} if plan.kept[0] else {}),
        "memory of training": plan.memory,
        "delta on disk": plan.delta,
    }
    width = max(map(len, sums)) + 2
    lines += ["", f"trainable: {plan.trained:,} parameters, the bridge aside"]
    lines += [f"{name:{width}}{format_bytes(count):>12}" for name, count in sums.items()]
    lines += [_before(plan.before, plan.kept)] if plan.before else []
    lines += ["", f"arithmetic a token of {plan.tokens} (decoder; vision tower and bridge aside): "
              f"{plan.forward / 1e9:.2f} GFLOP forward, {plan.backward / 1e9:.2f} backward"]  # fmt: skip
    if plan.epochs is not None:
        lines += [f"run: {plan.epochs:g} epochs of shards that are not here, in steps of {plan.step_tokens:,} tokens, "
                  f"{plan.flops:.2e} FLOP each (estimate)"]  # fmt: skip
        if tflops is not None:
            lines += [f"time: {plan.flops / tflops / 1e12:.2f} s a step at {tflops:g} TFLOP/s (estimate)"]
        return "\n".join(lines)
    lines += [f"run: {plan.steps:,} steps of {plan.step_tokens:,} tokens, {plan.flops:.2e} FLOP (estimate)"]
    if tflops is not None:
        lines += [f"time: {plan.flops / tflops / 1e12 / 3600:.1f} h at {tflops:g} TFLOP/s (estimate)"]
    return "\n".join(lines)


def _before(token: int, kept: tuple[int, int]) -> str:
    """Bytes of a token before the first signal, and how many tokens the recipe keeps in memory and on disk."""
    places = zip(("memory", "disk"), kept, strict=True)
    told = [f"train.prefix_{place} keeps {size // token:,} tokens" for place, size in places if size]
    more = ", ".join(told) or "none are kept (train.prefix_memory, train.prefix_disk)"
    return f"before the sensor: a token's keys and values take {format_bytes(token)}; {more}"


def record(plan: MetaPlan, tflops: float | None = None) -> dict[str, Any]:
    """The plan as plain values for JSON."""
    found: dict[str, Any] = {
        "model": plan.model,
        "dtype": str(plan.dtype).removeprefix("torch."),
        **({"load_in": plan.load_in} if plan.load_in else {}),
        "parameters": plan.parameters,
        "exact": plan.exact,
        "dormant": {layer.name: layer.trained for layer in plan.layers},
        "neurons": [{**asdict(one), "trained": one.trained} for one in plan.neurons],
        "trainable": plan.trained,
        "memory_bytes": plan.memory,
        "activation_bytes": plan.activations,
        "delta_bytes": plan.delta,
        **({"before_bytes": plan.before} if plan.before else {}),
        "forward_flops": plan.forward,
        "backward_flops": plan.backward,
        "flops": plan.flops,
        **({} if plan.epochs is None else {"steps": None, "epochs": plan.epochs}),
    }
    return found if tflops is None or plan.epochs is not None else {**found, "hours": plan.flops / tflops / 1e12 / 3600}


def row(recipe: str, base: str, plan: MetaPlan) -> str:
    """One line of the Markdown table under `HEADS`; the share is of the layers that are adapted."""
    entries = max(1, sum(layer.entries for layer in plan.layers))
    step = (plan.forward + plan.backward) * plan.step_tokens / 1e12
    about = "" if plan.exact else "about "
    cells = (
        recipe, base, f"{about}{plan.trained:,}", f"{plan.trained / entries:.4f}",
        f"{plan.trained / plan.parameters:.1%}",
        format_bytes(plan.memory), format_bytes(plan.delta), f"{step:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def kinds(layers: Sequence[LayerPlan]) -> list[tuple[str, ...]]:
    """A row for each kind of module and one for all: name, layers, entries, how many train, and their share."""
    named: dict[str, list[LayerPlan]] = {}
    for layer in layers:
        named.setdefault(layer.name.rpartition(".")[2], []).append(layer)
    return [*(_kind(name, of) for name, of in named.items()), _kind("all", list(layers))]


def _kind(name: str, layers: list[LayerPlan]) -> tuple[str, ...]:
    numbers = sorted({n for n in (layer_of(layer.name) for layer in layers) if n is not None})
    entries, trained = sum(layer.entries for layer in layers), sum(layer.trained for layer in layers)
    run = bool(numbers) and numbers == list(range(numbers[0], numbers[-1] + 1))
    which = f"{numbers[0]}-{numbers[-1]}" if run else ",".join(map(str, numbers))
    return name, which, f"{entries:,}", f"{trained:,}", f"{trained / max(entries, 1):.4f}"
