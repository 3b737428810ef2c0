"""The page of the demo's second half: answers, learning and forgetting, where weights moved, drift along training.

Note:
    An answer is right only word for word, as in the scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pairalign.data.draw import INK, LINE, PALETTE, lay_out, new_figure
from pairalign.data.place import find_place
from pairalign.data.shards import read_samples
from pairalign.demo.stage_two import points_of
from pairalign.dormant.layer import dormant_linears
from pairalign.evaluate.report import Report, Signal
from pairalign.finetune.page import COSTS, add_lines, cost_rows, kind_rows
from pairalign.finetune.run import RecomposeRun
from pairalign.finetune.three_figures import SAID
from pairalign.finetune.verdicts import add_verdicts, result_verdicts, results_headline
from pairalign.sensors.answer import answer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8


def write_page(runs: Mapping[str, RecomposeRun], path: Path) -> Path:
    """Draw everything and write one self-contained page."""
    dormant, results = runs["dormant"], {name: run.results for name, run in runs.items()}
    report = Report(
        "A language model learns to feel",
        "A small model that reads pictures and words answers questions about touches and point clouds, which it had "
        "never met; what it could do before is asked again afterwards.",
        synthetic=True,
    )
    add_verdicts(report, dormant.results, "Dormant weights")
    report.fact("seed", dormant.config.seed).fact("steps", dormant.config.train.steps)
    report.fact("weights trained, dormant", f"{dormant.results['trained']:,}")
    report.section("Learning and forgetting", _EXPLAINED, unfolded=True)
    report.picture(draw_change(runs), _CHANGE, told_change(runs))
    others = {name: run for name, run in runs.items() if name != "dormant"}
    if others:
        report.section("The other methods")
    for name, run in others.items():
        verdicts = result_verdicts(run.results)
        report.verdicts(f"{name}: {results_headline(verdicts)[0]}", verdicts)
    if (costs := cost_rows(results))[1]:  # runs of earlier versions have none
        report.section("What the sensor costs", COSTS)
        report.table(*costs, caption="Exact answers, mean over kinds; in brackets with updates off.")
    report.section("Questions about touches", "Objects of the validation set; dormant weights; greedy answers.")
    report.cards([show_answers(dormant)], "The gel image, the question, what the model says, and what is right.")
    report.section("Every kind of question", "The sensors' own questions first.")
    report.table(*kind_rows(results), caption="Share of exact answers, 95 % Wilson interval, chance.")
    report.section("Where the weights moved", "Size of the change of each matrix over the size of the matrix.")
    moved = moved_layers(dormant)
    told = "; ".join(f"layer {layer} {module} {value:.2f}" for (layer, module), value in moved.items())
    report.picture(draw_layers(moved), "Layer by module; darker moved more.", f"{told}.")
    add_lines(report, results)
    return report.write(path)


_EXPLAINED = (
    "Learning is the mean over the sensors' tasks, forgetting the mean over questions about pictures, texts and words "
    "that training never showed. Recomposition trains nothing: it is the aligned latent through the model's own image "
    "projector, and carries what picture and sensor share. One seed; `bench/front.py` has three, and more methods."
)


_CHANGE = (
    "Points of exact answers gained on the sensors' questions, and lost on all others: as they are, and with a signal "
    "in the prompt that has nothing to do with them, which disturbs a model that learned nothing, too."
)


def show_answers(run: RecomposeRun) -> list[Signal]:
    """Touches with a question, an answer and the truth."""
    task = run.config.validation["touch"]
    fields = ["touch", "question", "answer"]
    found = []
    for sample in islice(read_samples(find_place(task.folder, run.config.root), task.split, fields), SHOWN):
        value, question, right = (sample.values[name] for name in fields)
        said = answer(run.model, run.processor, question, signals={"touch": [value]}, tokens=12) or "nothing"
        same = plain(said) == plain(right)
        words = f"{question} says: {said}" + ("" if same else f"; is: {right}")
        found.append(Signal("image", value, words, f"a touch. {words}", "right" if same else "wrong"))
    return found


def plain(text: str) -> str:
    """Words alone."""
    return " ".join(re.findall(r"[a-z-]+", text.lower()))


def draw_change(runs: Mapping[str, RecomposeRun]) -> Figure:
    """Bars of every method: points learned, lost without a signal in the prompt, and with one."""
    figure, axes = new_figure(8.2, 1.2 + 0.75 * len(runs))
    ax, told = axes[0, 0], _points_by_kind(runs)
    height = 0.8 / len(told)
    for k, (kind, (colour, values)) in enumerate(told.items()):
        for n, value in enumerate(values.values()):
            y = n + (k - (len(told) - 1) / 2) * height
            ax.barh(y, value, height=0.85 * height, color=colour, label=None if n else kind)
            side, said = (1, "left") if value >= 0 else (-1, "right"), f"{value:+.1f}" if round(value, 1) else "0"
            ax.text(value + side[0], y, said, va="center", ha=side[1], fontsize=8, color=INK)
    ax.axvline(0, color=LINE)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.invert_yaxis()
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0) - 9, high + 9)
    ax.set_xlabel("points", fontsize=9, color=INK)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2, frameon=False, fontsize=8, labelcolor=INK)
    return lay_out(figure)


def told_change(runs: Mapping[str, RecomposeRun]) -> str:
    """The bars of `draw_change` in words."""
    kinds = _points_by_kind(runs).items()
    said = [f"{kind}: " + ", ".join(f"{name} {v:+z.1f}" for name, v in values.items()) for kind, (_, values) in kinds]
    return f"Points. {'; '.join(said)}."


def _points_by_kind(runs: Mapping[str, RecomposeRun]) -> dict[str, tuple[str, dict[str, float]]]:
    """By kind of change its colour, and points by method; runs of earlier versions were not asked with a signal."""
    points = points_of(dict(runs))
    found = {
        "learned": (PALETTE[2], {name: gained for name, (gained, _) in points.items()}),
        "lost, without a signal in the prompt": (PALETTE[4], {name: -lost for name, (_, lost) in points.items()}),
    }
    lost = {name: (run.results.get("with_signals") or {}).get("forgetting", {}) for name, run in runs.items()}
    for position, colour in (("before", PALETTE[1]), ("behind", PALETTE[7])):
        if all(position in one for one in lost.values()):
            values = {name: -one[position]["points"] for name, one in lost.items()}
            found[f"lost, with {SAID[position]}"] = (colour, values)
    return found


def moved_layers(run: RecomposeRun) -> dict[tuple[int, str], float]:
    """Relative change of every adapted matrix, by layer and module."""
    moved: dict[tuple[int, str], float] = {}
    for name, layer in dormant_linears(run.model.llm):
        base = layer.base_weight().float()
        change = (layer.effective_weight().float() - base).norm() / base.norm()
        found = re.search(r"\.(\d+)\.", name)
        moved[int(found[1]) if found else 0, name.rpartition(".")[2]] = float(change)
    return moved


def draw_layers(moved: Mapping[tuple[int, str], float]) -> Figure:
    """A table of `moved_layers`, darker where it is more."""
    layers, modules = sorted({k[0] for k in moved}), list(dict.fromkeys(k[1] for k in moved))
    table = torch.tensor([[moved.get((layer, module), 0.0) for module in modules] for layer in layers])
    figure, axes = new_figure(8.2, 0.9 + 0.4 * len(layers))
    ax = axes[0, 0]
    ax.imshow(table.numpy(), aspect="auto", cmap="Blues", vmin=0)
    ax.set_xticks(range(len(modules)), modules)
    ax.set_yticks(range(len(layers)), [f"layer {layer}" for layer in layers])
    middle = float(table.max()) / 2
    for i, row in enumerate(table.tolist()):
        for j, value in enumerate(row):
            colour = "white" if value > middle else "#333"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    return lay_out(figure)
