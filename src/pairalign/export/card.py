"""The card of a sensor pack: a README.md that a stranger can read, with the figures and how they were got."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.export.manifest import MERGED, Manifest
from pairalign.export.merged import merged_lines
from pairalign.export.snippet import snippet
from pairalign.files import write_text
from pairalign.finetune.three_figures import ALIKE, asked_again, count_of, points_line, sameness, table_of
from pairalign.hub.metadata import pack_head

SCORED = {"validation": "The sensor's questions", "held_out": "What was not trained on, and must not be lost"}


def write_card(manifest: Manifest, results: dict[str, Any], folder: Path, name: str) -> None:
    """Write README.md of a pack that will be called `name`."""
    names = ", ".join(manifest.sensors)
    lines = [pack_head(manifest, results, name), f"# Sensor pack: {names}", ""]
    lines += [f"Gives `{manifest.base['name']}` ({manifest.base['class']}) the sense of **{names}**.", ""]
    lines += ["```python", *snippet(manifest, results, name), "```", ""]
    for sensor, signal in manifest.signals.items():
        size = " × ".join("any" if n is None else str(n) for n in signal["shape"])
        rate = f", {signal['rate']:g} Hz" if signal["rate"] else ""
        lines.append(
            f"- **{sensor}**: encoder `{manifest.sensors[sensor].encoder}` reads {signal['kind']} of {size} in "
            f"{signal['unit']}{rate}; licence of the encoder: {manifest.licences[sensor]}."
        )
    if manifest.merged:
        whole = "goes with that model alone" if manifest.whole else "installs into the base or goes with that model"
        lines.append(f"- **merged**: `{MERGED}/` is the whole model, method {manifest.method}; the pack {whole}.")
        about = manifest.provenance.get("dormant") or {}
        if about.get("structure") == "directions" and manifest.base["dtype"] != "float32":
            dtype = manifest.base["dtype"]
            lines.append(
                f"  There the directions are rounded to {dtype}, and answers may differ; the pack has them whole."
            )
    kept = manifest.figures.get("kept")
    if kept is not None and not kept["learned"]:
        lines.append("- **nothing was learned** within the bound on forgetting: these are the weights of the start.")
    trained = manifest.figures.get("trained")
    if manifest.delta is not None and trained is not None:
        about = manifest.provenance["dormant"]
        lines.append(
            f"- **delta**: {trained:,} of the model's weights ({about['structure']}, density {about['density']:g}, "
            f"score {about['score']}); all others are compared with the base bit by bit in `receipt.json`."
        )
        origin = manifest.provenance.get("origin") or {}
        if origin.get("beside"):
            names = ", ".join(origin["beside"])
            lines.append(f"- **beside**: none of these weights is one of {names}, so that both can be merged together.")
        lines += list(_calibration(origin))
    lines += ["", "## Measured", ""]
    for figure, sign in (("learning", "gained"), ("forgetting", "lost")):
        if figure in manifest.figures:
            value = manifest.figures[figure]
            lines.append(f"- {figure}: {value['points']:+z.1f} points {sign} on average over tasks")
    lines.append(f"- seed {manifest.provenance['seed']}, one run; exact answers, 95 % Wilson intervals")
    for part, title in SCORED.items():
        if results.get("after", {}).get(part):
            lines += ["", f"### {title}", "", "| question | n | base | now | interval |", "|---|---|---|---|---|"]
            lines += _rows(results, part)
    lines += _asked_again(results)
    if "merged" in results:
        about = manifest.provenance.get("dormant") or {}
        others = tuple(manifest.provenance.get("merged_in", ()))
        told = merged_lines(results, behind=about.get("acts") == "sensor", others=others)
        lines += ["", f"### With merged weights (`{MERGED}/`)", "", *told]
    write_text(folder / "README.md", "\n".join(lines) + "\n")


def _asked_again(results: dict[str, Any]) -> Iterator[str]:
    """The three figures of every held-out task; nothing where an earlier version measured none."""
    again = asked_again(results)
    if not again:
        return
    told = results["with_signals"]
    yield from ("", "### The same without the sensor, and with a signal in the prompt", "")
    came = "; ".join(f"{sensor}: {', '.join(named)}" for sensor, named in told["signals_from"].items())
    yield (
        f"Signals ({came or 'none'}) have nothing to do with the question; they stand before all that is said, or "
        f"behind the last picture. Drawn by seed {told['seed']}; exact answers, 95 % Wilson intervals."
    )
    yield ""
    for name, task in again.items():
        yield f"- {name}, without the sensor ({count_of(task)}): {sameness(task)}" + (f"; {ALIKE}" * task["alike"])
    points = points_line(results)
    if points is not None:
        yield f"- lost with {points}"
    names, rows = table_of(results)
    yield from ("", f"| {' | '.join(names)} |", "|---" * len(names) + "|")
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _calibration(origin: dict[str, Any]) -> Iterator[str]:
    """What the delta's weights were chosen by; nothing where an older version kept no record."""
    read = origin.get("calibration")
    for one in read.get("samples", []) if isinstance(read, dict) else []:
        yield (
            f"- **calibration**: {one['count']} samples of `{one['shards']}`, split {one['split']}; their keys are in "
            f"`manifest.json`, SHA-256 {one['sha256'][:12]}…."
        )
    if isinstance(read, dict) and not read.get("samples"):
        tokens = read["tokens"][:12]
        yield f"- **calibration**: {read['batches']} batches without keys, SHA-256 of their tokens {tokens}…."


def _rows(results: dict[str, Any], part: str) -> list[str]:
    rows = []
    for task, score in results["after"][part].items():
        before = results["base"][part][task]["kinds"]
        said = [results[when][part][task].get("contains") for when in ("base", "after")]
        for kind, now in score["kinds"].items():
            rows.append(
                f"| {task}: {kind} | {now['n']} | {before[kind]['value']:.3f} | {now['value']:.3f} | "
                f"{now['low']:.3f} to {now['high']:.3f} |"
            )
        if all(said):
            was, now = said
            rows.append(
                f"| {task}: its words in a free answer | {now['n']} | {was['value']:.3f} | {now['value']:.3f} | "
                f"{now['low']:.3f} to {now['high']:.3f} |"
            )
    return rows
