"""Two packs on one base: touches and sounds, taught apart, each alone, both in either order, both in one prompt.

Note:
    Where both act from their sensor's first token on, a prompt with one signal must be answered as by that pack alone,
    whatever the order; with two signals each token has the weights of the last before it, and nobody trained on that.
    The other signal is of another object.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from real.senses import register_encoders
from real.settings import Run, settings

SIZE = 8


def packed(run: Run, work: Path) -> Path:
    """The pack of a finished run, exported unless it is there."""
    from pairalign import export_pack

    out = work / "packs" / run.name
    return out if out.exists() else export_pack(work / "taught" / run.name, out)


def two_packs(pair: Mapping[str, Run], work: Path) -> dict[str, Any]:
    """What is right of each sense's questions, by how the pack is installed and what else is in the prompt."""
    from pairalign import load_sensor_model
    from pairalign.files import write_json

    (one, first), (other, second) = pair.items()
    path = work / "packs" / f"{first.name}-and-{second.name}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    register_encoders()
    packs, asked = {sense: packed(run, work) for sense, run in pair.items()}, {}
    for sense, run in pair.items():
        asked[sense] = questions(run, work)
    base = str(work / "base")
    found: dict[str, Any] = {sense: {} for sense in pair}
    alone = {}
    for sense in pair:
        model, processor = load_sensor_model(base, [packs[sense]], dtype=first.dtype)
        hits, alone[sense] = answers(model, processor, asked[sense])
        found[sense]["alone"] = hits
    for order in ((one, other), (other, one)):
        model, processor = load_sensor_model(base, [packs[sense] for sense in order], dtype=first.dtype)
        for sense in pair:
            hits, logits = answers(model, processor, asked[sense])
            found[sense][f"both, {order[0]} first"] = hits
            differ = int((logits != alone[sense]).sum())
            found[sense].setdefault("logits that differ", []).append([differ, logits.numel()])
    for sense, rest in ((one, other), (other, one)):
        for where in ("before", "behind"):
            shown = beside(asked[sense], asked[rest], rest, where == "before")
            found[sense][f"{rest} {where}"] = answers(model, processor, shown)[0]
    told = {"seed": first.seed, "where": first.where, "steps": first.steps, "arms": [r.arm.name for r in pair.values()]}
    write_json(path, {**told, "found": found}, indent=1)
    return {**told, "found": found}


def questions(run: Run, work: Path) -> list[Any]:
    """What a run's sense is asked first, of what it is measured on."""
    from pairalign.finetune.config import TaskConfig
    from pairalign.finetune.tasks import Task

    name, told = next(iter(settings(run, work)["validation"].items()))
    task = Task(name, TaskConfig(**told), work / "lessons", [run.arm.sense])
    return list(task.read())[: run.limit]


@torch.no_grad()
def answers(model: Any, processor: Any, examples: Sequence[Any]) -> tuple[list[bool], torch.Tensor]:
    """Which are right, and the logits of all answer tokens."""
    from pairalign.finetune.collator import IGNORED, Collator
    from pairalign.finetune.measure import answer_logits, exact_texts

    collate, hits, found = Collator(processor), list[bool](), []
    for start in range(0, len(examples), SIZE):
        logits, labels = answer_logits(model, collate(examples[start : start + SIZE]))
        hits += exact_texts(logits, labels, collate.tokenizer)
        found.append(logits[labels != IGNORED])
    return hits, torch.cat(found)


def beside(examples: Sequence[Any], others: Sequence[Any], sense: str, before: bool) -> list[Any]:
    """The same with a signal of `sense` of another object, before all else or behind the example's own."""
    draw, found = random.Random(0), []
    for example in examples:
        other = draw.choice([one for one in others if one.answer != example.answer] or list(others))
        shown = next(part for part in other.parts if part["type"] == sense)
        own = next(n for n, part in enumerate(example.parts) if part["type"] != "text")
        place = 0 if before else own + 1
        found.append(example._replace(parts=[*example.parts[:place], shown, *example.parts[place:]]))
    return found


def packs_table(records: Sequence[Mapping[str, Any]]) -> str:
    """All seeds together: right answers with intervals, and points lost against the pack alone."""
    from pairalign.evaluate.intervals import wilson

    lines = ["| question about | prompt and packs | n | right | points lost |", "|---|---|---|---|---|"]
    for sense in records[0]["found"]:
        rows = [record["found"][sense] for record in records]
        base = sum(sum(row["alone"]) for row in rows) / sum(len(row["alone"]) for row in rows)
        for name in rows[0]:
            if name == "logits that differ":
                continue
            hits = [hit for row in rows for hit in row[name]]
            one = wilson(sum(hits), len(hits))
            lines.append(
                f"| {sense} | {name} | {one.n} | {one.value:.3f} ({one.low:.2f} to {one.high:.2f}) | "
                f"{100 * (base - one.value):.1f} |"
            )
        differ = [part for row in rows for part in row["logits that differ"]]
        lines.append(f"| {sense} | logits of both that differ from alone | {sum(n for _, n in differ):,} | – | "
                     f"{sum(count for count, _ in differ):,} differ |")  # fmt: skip
    return "\n".join(lines)
