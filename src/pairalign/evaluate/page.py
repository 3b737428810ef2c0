"""The report of an evaluation: one page that a stranger can read, verdicts first, then pictures and tables, folded.

Note:
    Pictures are drawn from the first few hundred samples of a pool, numbers from all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from pairalign.align.run import AlignRun
from pairalign.data.graph import edge_name
from pairalign.evaluate.kept import kept_rows
from pairalign.evaluate.measure import gate_table, measured_pairs, pair_embeddings
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.probes import told
from pairalign.evaluate.report import Report, Signal
from pairalign.evaluate.tables import agreement_rows, probe_rows, retrieval_rows, zero_shot_rows
from pairalign.evaluate.verdicts import controls_of, controls_told, edges_of, headline

SHOWN = 4


def build_report(run: AlignRun, pools: Mapping[str, EvalPool], metrics: Mapping[str, Any]) -> Report:
    """Verdicts, pictures and tables of every pool; `metrics` is what `evaluate_run` measured."""
    graph = run.aligner.graph
    trained = ", ".join(edge_name(edge) for edge in graph.edges)
    emergent = ", ".join(f"{edge_name(e)} (by {' → '.join(p)})" for e, p in graph.emergent().items()) or "none"
    report = Report(
        f"Aligned space: {run.folder.name}",
        f"Trained on pairs of {trained}. Emergent, never paired in training: {emergent}.",
        synthetic=bool(metrics["synthetic"]),
        note="" if graph.connected else "The pair graph is not connected: its parts share no space.",
    )
    verdicts = {name: metrics["pools"][name]["verdicts"] for name in pools}
    report.answered(*headline([one for found in verdicts.values() for one in found], len(pools)))
    for name, found in verdicts.items():
        report.judged(f"{name}: {len(pools[name].keys):,} held-out samples", edges_of(found), controls_told(found))
    report.fact("seed", run.config.seed).fact("steps", f"{run.config.train.steps:,}")
    report.fact("latents", f"{run.config.latent.shared} shared, {run.config.latent.private} private")
    for name, pool in pools.items():
        report.fact(f"samples, {name}", f"{len(pool.keys):,}")
        _add_pool(report, run, pool, metrics["pools"][name])
    _add_dimensions(report, run)
    _add_losses(report, run)
    return report


def _add_pool(report: Report, run: AlignRun, pool: EvalPool, record: Mapping[str, Any]) -> None:
    count = f"{len(pool.keys):,} held-out samples; duplicates count as right answers."
    report.section(f"Nearest neighbours: {pool.name}", count)
    _add_neighbours(report, run, pool)
    controls = controls_of(record["verdicts"])
    if controls:
        report.section(f"Controls: {pool.name}").verdicts("What no path can carry should be at chance.", controls)
    for heading, (head, rows), caption in (
        ("Retrieval", retrieval_rows(record), "Score, 95 % bootstrap interval, and chance."),
        (
            "Among the same group only",
            retrieval_rows(record, "retrieval_same_group"),
            "Candidates are limited to the query's own group.",
        ),
        ("What the neighbours share", agreement_rows(record), "Share of queries whose nearest neighbour agrees."),
        ("Zero-shot classification", zero_shot_rows(record), "Nearest class by prompt templates."),
        ("Linear probes", probe_rows(record), f"Logistic regression, {told(record)}."),
        ("Geometry", _geometry_rows(record), "Alignment 0 is equal, 2 unrelated; gap is 0 to 2."),
    ):
        if rows:
            report.section(f"{heading}: {pool.name}").table(head, rows, caption=caption)
    _add_kept(report, pool, record)
    _add_map(report, run, pool)


def _add_kept(report: Report, pool: EvalPool, record: Mapping[str, Any]) -> None:
    """Which factors every gate keeps."""
    from pairalign.evaluate.kept_picture import draw_kept

    if not record.get("gates"):
        return
    report.section(
        f"What each gate keeps: {pool.name}",
        "A gate says which shared dimensions an edge compares. What both sides see should be in those that it keeps; "
        "what one side alone sees has no use there.",
    )
    for edge, found in record["gates"].items():
        dropped = len(found["gate"]) - found["kept"]
        caption = f"{edge}: {found['kept']} dimensions kept (a gate of half the largest or more), {dropped} dropped. "
        alone = [
            f"{side}, {factor}: the best single dimension tells {max(one['each']):.3f}, chance {one['chance']:.3f}"
            for side, factors in found["sides"].items()
            for factor, one in factors.items()
        ]
        caption += "Dark: the factor can be told from that dimension alone."
        report.picture(draw_kept(edge, found), caption, "; ".join(alone) + ".")
    head, rows = kept_rows(record)
    caption = (
        "Linear discriminant on half of the pool, asked about the other half. The last column is the rank correlation, "
    )
    caption += "over dimensions, of the gate with how well a factor is told by that dimension alone."
    report.table(head, rows, caption=caption)


def _add_neighbours(report: Report, run: AlignRun, pool: EvalPool) -> None:
    count = len(pool.examples)
    for (a, b), path in measured_pairs(run.aligner, pool).items():
        za, zb = (z[:count] for z in pair_embeddings(run.aligner, pool, a, b))

        @cache
        def shown(modality: str, row: int) -> tuple[str, Any]:
            field = run.config.modalities[modality].source or modality
            kind = run.aligner.encoder(modality).signal.kind
            return kind, picture_value(pool.examples[row].values[field])

        rows = []
        for query in range(min(SHOWN, count)):
            best = (zb @ za[query]).topk(min(5, count)).indices.tolist()
            asked = Signal(*shown(a, query), f"{a}, asked", f"{a} {query + 1}, which is asked with", "query")
            line = [asked]
            for nth, row in enumerate(best, 1):
                right = bool(pool.ids[b][row] == pool.ids[b][query])
                words = f"{b}, nearest {nth}" + (", its own pair" if right else "")
                line.append(Signal(*shown(b, row), f"{b} {nth}", words, "right" if right else ""))
            rows.append(line)
        status = "trained" if len(path) == 2 else "emergent, by " + " → ".join(path)
        caption = f"{a} → {b} ({status}): the query, then its nearest among {count}; the sample's own pair is framed."
        report.cards(rows, caption)


def picture_value(raw: Any) -> Any:
    """What of a raw sample is drawn: its value, or its last frame; a recording without its rate."""
    if isinstance(raw, Mapping):
        raw = raw["value"] if "value" in raw else raw["frames"][-1]
    if isinstance(raw, tuple):
        raw = raw[0]
    return raw


def _add_map(report: Report, run: AlignRun, pool: EvalPool) -> None:
    from pairalign.evaluate.pictures import draw_map

    factors = {f: v for f, v in pool.factors.items() if 1 < len({str(x) for x in v}) <= 20}
    if not factors:
        return
    gate = torch.stack([run.aligner.gates(edge).detach().cpu() for edge in run.aligner.graph.edges]).amin(0)
    gate = gate if gate.sum() > 0 else torch.ones_like(gate)
    latents = {m: gate * z.shared for m, z in pool.latents.items()}
    report.section(
        f"Map of the space: {pool.name}",
        "Two principal components of the shared latents that all edges use; one colour a value, one marker a modality.",
    )
    for factor, values in factors.items():
        labels = {factor: {m: [str(v) for v in values] for m in latents}}
        counts = ", ".join(f"{value} {count}" for value, count in sorted(Counter(map(str, values)).items()))
        told = f"Samples of each value of {factor}, as {', '.join(latents)}: {counts}."
        report.picture(draw_map(latents, labels), f"Where {factor} lies.", told)


def _geometry_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for name, pair in record["pairs"].items():
        g, d = pair["geometry"], pair["dimensions"]
        rows.append([name, g["alignment"], *g["uniformity"].values(), g["modality_gap"], d.n_active, d.effective])
    head = ["edge", "alignment", "uniformity, first", "uniformity, second", "modality gap", "active dims", "effective"]
    return head, rows


def _add_dimensions(report: Report, run: AlignRun) -> None:
    from pairalign.evaluate.pictures import draw_gates

    gates = gate_table(run.aligner)
    used = {edge: int((gate >= 0.1 * gate.max()).sum()) for edge, gate in gates.items()}
    told = "; ".join(f"{edge}: {count} of {len(gates[edge])} in use" for edge, count in used.items())
    report.section("Which latent dimensions each edge uses", "A learned gate per edge: partial alignment.")
    report.picture(draw_gates(gates), "Gates of the shared dimensions; dark is open.", f"{told}.")


def _add_losses(report: Report, run: AlignRun) -> None:
    from pairalign.align.run import read_metrics
    from pairalign.evaluate.pictures import draw_lines

    lines = [m for m in read_metrics(run.folder) if "train/loss" in m]
    if len(lines) < 2:
        return
    names = sorted({n for m in lines for n in m if n.startswith("train/") and n.endswith("/contrast")})
    points = {name.split("/")[1]: [(m["step"], m[name]) for m in lines if name in m] for name in names}
    told = "; ".join(
        f"{name}: {xy[0][1]:.3f} at step {xy[0][0]}, {xy[-1][1]:.3f} at step {xy[-1][0]}" for name, xy in points.items()
    )
    figure = draw_lines({"contrastive loss, nats": points}, width=8.2)
    report.section("Training").picture(figure, "Contrastive loss of every edge, in nats.", f"{told}.")
