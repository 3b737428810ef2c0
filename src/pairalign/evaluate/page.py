"""The report of an evaluation: one page that a stranger can read, with pictures before tables.

Where it bites: pictures are drawn from the first few hundred samples of a pool, numbers from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pairalign.align.run import AlignRun
from pairalign.data.graph import edge_name
from pairalign.evaluate.kept import kept_rows
from pairalign.evaluate.measure import gate_table, measured_pairs, pair_embeddings
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.probes import told
from pairalign.evaluate.report import Report
from pairalign.evaluate.tables import agreement_rows, probe_rows, retrieval_rows, zero_shot_rows

SHOWN = 4


def build_report(run: AlignRun, pools: Mapping[str, EvalPool], metrics: Mapping[str, Any]) -> Report:
    """Pictures and tables of every pool; `metrics` is what `evaluate_run` measured."""
    graph = run.aligner.graph
    trained = ", ".join(edge_name(edge) for edge in graph.edges)
    emergent = ", ".join(f"{edge_name(e)} (by {' → '.join(p)})" for e, p in graph.emergent().items()) or "none"
    report = Report(
        f"Aligned space: {run.folder.name}",
        f"Trained on pairs of {trained}. Emergent, never paired in training: {emergent}.",
        synthetic=bool(metrics["synthetic"]),
        note="" if graph.connected else "The pair graph is not connected: its parts share no space.",
    )
    report.fact("seed", run.config.seed).fact("steps", f"{run.config.train.steps:,}")
    report.fact("latents", f"{run.config.latent.shared} shared, {run.config.latent.private} private")
    for name, pool in pools.items():
        report.fact(f"samples, {name}", f"{len(pool.keys):,}")
        _add_pool(report, run, pool, metrics["pools"][name])
    _add_dimensions(report, run)
    _add_losses(report, run)
    return report


def _add_pool(report: Report, run: AlignRun, pool: EvalPool, record: Mapping[str, Any]) -> None:
    report.section(
        f"Retrieval: {pool.name}", f"{len(pool.keys):,} held-out samples; duplicates count as right answers."
    )
    _add_recall(report, record)
    _add_neighbours(report, run, pool)
    report.table(*retrieval_rows(record), caption="Score, 95 % bootstrap interval, and chance.")
    same_group = retrieval_rows(record, "retrieval_same_group")
    for heading, (head, rows), caption in (
        ("Among the same group only", same_group, "Candidates are limited to the query's own group."),
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
        report.picture(draw_kept(edge, found), caption + "Dark: the factor can be told from that dimension alone.")
    head, rows = kept_rows(record)
    caption = (
        "Linear discriminant on half of the pool, asked about the other half. The last column is the rank correlation, "
    )
    caption += "over dimensions, of the gate with how well a factor is told by that dimension alone."
    report.table(head, rows, caption=caption)


def _add_recall(report: Report, record: Mapping[str, Any]) -> None:
    from pairalign.evaluate.pictures import draw_recall

    rows: dict[str, dict[str, Any]] = {}
    emergent = []
    for pair in record["pairs"].values():
        a, b, found = pair["path"][0], pair["path"][-1], pair.get("agreement", {})
        for ends, way, score in zip(((a, b), (b, a)), ("forward", "backward"), pair["retrieval"], strict=True):
            label = f"{ends[0]} → {ends[1]}"
            rows[label] = {"R@1": score.recall[1], "R@10": score.recall[10]}
            if "all" in found:
                rows[label] = {"top-1 on " + ", ".join(found["factors"]): found["all"][way], **rows[label]}
            if pair["status"] == "emergent":
                emergent.append(label)
    series = {name for scores in rows.values() for name in scores}
    if len(series) > 3:  # each edge has its own factors: one short name serves all
        rows = {
            label: {("top-1 on factors" if name.startswith("top-1") else name): s for name, s in scores.items()}
            for label, scores in rows.items()
        }
    caption = "Recall on every edge, trained and emergent, with its interval and chance."
    if any("agreement" in pair and "all" in pair["agreement"] for pair in record["pairs"].values()):
        caption += (
            " Top-1 on factors asks for an equal object, in all that both sides can see; R@1 asks for the very same"
            " sample, which nothing that they share may tell from its equals."
        )
    report.picture(draw_recall(rows, emergent), caption)


def _add_neighbours(report: Report, run: AlignRun, pool: EvalPool) -> None:
    from pairalign.evaluate.pictures import Neighbours, draw_neighbours

    count = len(pool.examples)
    for (a, b), path in measured_pairs(run.aligner, pool).items():
        za, zb = (z[:count] for z in pair_embeddings(run.aligner, pool, a, b))
        fields = {m: run.config.modalities[m].source or m for m in (a, b)}
        kinds = {m: run.aligner.encoder(m).signal.kind for m in (a, b)}
        rows = []
        for query in range(min(SHOWN, count)):
            best = (zb @ za[query]).topk(min(5, count)).indices.tolist()
            right = [bool(pool.ids[b][i] == pool.ids[b][query]) for i in best]
            found = [picture_value(pool.examples[i].values[fields[b]]) for i in best]
            rows.append(Neighbours(picture_value(pool.examples[query].values[fields[a]]), found, right))
        status = "trained" if len(path) == 2 else "emergent, by " + " → ".join(path)
        caption = f"{a} → {b} ({status}): the query, then its nearest among {count}; the sample's own pair is framed."
        report.picture(draw_neighbours(rows, (a, kinds[a]), (b, kinds[b])), caption)


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
    labels = {f: {m: [str(v) for v in values] for m in latents} for f, values in factors.items()}
    report.section(
        f"Map of the space: {pool.name}", "Two principal components of the shared latents that all edges use."
    )
    report.picture(draw_map(latents, labels), "One panel a factor, one colour a value, one marker a modality.")


def _geometry_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for name, pair in record["pairs"].items():
        g, d = pair["geometry"], pair["dimensions"]
        rows.append([name, g["alignment"], *g["uniformity"].values(), g["modality_gap"], d.n_active, d.effective])
    head = ["edge", "alignment", "uniformity, first", "uniformity, second", "modality gap", "active dims", "effective"]
    return head, rows


def _add_dimensions(report: Report, run: AlignRun) -> None:
    from pairalign.evaluate.pictures import draw_gates

    report.section("Which latent dimensions each edge uses", "A learned gate per edge: partial alignment.")
    report.picture(draw_gates(gate_table(run.aligner)), "Gates of the shared dimensions; dark is open.")


def _add_losses(report: Report, run: AlignRun) -> None:
    from pairalign.align.run import read_metrics
    from pairalign.evaluate.pictures import new_figure

    lines = [m for m in read_metrics(run.folder) if "train/loss" in m]
    if len(lines) < 2:
        return
    figure, axes = new_figure(8.2, 2.4)
    names = sorted({n for m in lines for n in m if n.startswith("train/") and n.endswith("/contrast")})
    for name in names:
        points = [(m["step"], m[name]) for m in lines if name in m]
        axes[0, 0].plot(*zip(*points, strict=True), linewidth=1.2, label=name.split("/")[1])
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[0, 0].set_xlabel("step", fontsize=9)
    report.section("Training").picture(figure, "Contrastive loss of every edge, in nats.")
