"""`evaluate_run`: everything that is measured of an aligned run, as JSON, a table and a report with pictures.

Note:
    Chance stands beside every score, and a score on samples of few objects needs the groups that the pairs record, or
    its interval is far too narrow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from pairalign.align.run import AlignRun, open_run
from pairalign.core.arguments import checked
from pairalign.core.bounds import Several, Whole
from pairalign.core.errors import DataError
from pairalign.data.graph import edge_name
from pairalign.data.place import Remote, find_place
from pairalign.evaluate.kept import measure_kept
from pairalign.evaluate.measure import (
    Visible,
    encode_texts,
    measure_pair,
    measured_pairs,
)
from pairalign.evaluate.page import build_report
from pairalign.evaluate.pool import EvalPool, check_pairs, encode_pool, pooled
from pairalign.evaluate.probes import check_split, measure_probes, probed, trained_on, training_pools, warn_of_halves
from pairalign.evaluate.report import Report, write_metrics
from pairalign.evaluate.tables import tables
from pairalign.evaluate.verdicts import pool_verdicts
from pairalign.evaluate.zero_shot import class_embeddings, classify, template_kind, through_known
from pairalign.files import check_writable
from pairalign.runs.folder import own_folder
from pairalign.runs.lock import alone
from pairalign.runtime import DeviceLike


@dataclass(frozen=True)
class Evaluation:
    """What was measured: nested `metrics` (with `Score` objects), the terminal `table`, and the files written."""

    metrics: dict[str, Any]
    table: str
    report: Path
    pools: dict[str, EvalPool]


@checked()
def evaluate_run(
    run: str | Path | AlignRun,
    pairs: str | Path | Remote | Sequence[str | Path | Remote],
    *,
    split: str | Sequence[str] = "test",
    out: str | Path | None = None,
    visible: Visible | None = None,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    same_group: bool = False,
    limit: Several | None = None,
    seed: Whole = 0,
    probe_split: str | None = None,
    device: DeviceLike | None = None,
    progress: bool = True,
    add: Callable[[AlignRun, Report], None] | None = None,
) -> Evaluation:
    """Measure a run on held-out pairs.

    Args:
        run: of stage one, or its folder.
        pairs: shard folders; each with at least two of the run's modalities. Several are measured one by one and, where
            they share two modalities, all together as "pooled/SPLIT".
        split: which split or splits of them.
        out: folder for metrics.json and report.html; default `RUN/evaluation`.
        visible: modality -> factors it can see; separates what an edge can carry from the controls. All, if `None`.
        classes: class names for zero-shot; default the distinct plain labels.
        templates: see `class_embeddings`; default those of each sensor's kind.
        known: class names that training has seen, through whose vectors those of `classes` are scored.
        same_group: also retrieve among samples of the same group only.
        limit: most samples of each pool.
        seed: of the bootstrap and of what is drawn.
        probe_split: split of the same shards that linear probes are trained on, 2,000 samples at most; default the
            run's training split; where there is none, half of the pool trains them, which is said.
        device: what encodes, see `find_device`; by default a folder's run takes the accelerator, if any, and a loaded
            run stays where it is.
        progress: show a bar.
        add: given the run and the report before that is written, to add sections of its own.

    Returns:
        The figures, and where the report is.

    Raises:
        DataError: where there is nothing to measure.
        SignalError: for pairs of another unit or rate than the run's encoders declare.
    """
    start = time.perf_counter()
    aligned = open_run(run, device)
    home = Path(out) if out else own_folder(aligned.folder, "evaluation")
    check_writable(home, "give --out (`out`) another folder")
    folders = [pairs] if isinstance(pairs, (str, Path, Remote)) else list(pairs)
    splits = [split] if isinstance(split, str) else list(split)
    settings: dict[str, Any] = {"visible": visible, "known": known, "same_group": same_group, "seed": seed}
    wanted = list(dict.fromkeys((find_place(folder), name) for folder, name in product(folders, splits)))
    for folder, name in wanted:  # all of them before the first is encoded
        check_pairs(aligned, folder, name)
    check_split(probe_split, [folder for folder, _ in wanted])
    with alone(home):
        pools: dict[str, EvalPool] = {}
        for folder, name in wanted:
            alike = [other for other, _ in wanted if other.name == folder.name and other != folder]
            pool = encode_pool(aligned, folder, name, limit=limit, progress=progress)
            pool = replace(pool, name=f"{folder}/{name}") if alike else pool
            pools[pool.name] = pool
        for name in splits:  # of several data sets also all together
            same = [pool for (_, split_), pool in zip(wanted, list(pools.values()), strict=False) if split_ == name]
            together = pooled(same, f"pooled/{name}") if len(same) > 1 else None
            if together is not None:
                pools[together.name] = together
        how: dict[str, Any] = {"split": probe_split, "limit": limit, "progress": progress}
        training = training_pools(aligned, wanted, pools, **how)
        measured = {
            name: measure_pool(aligned, pool, classes, templates, training=training.get(name), **settings)
            for name, pool in pools.items()
        }
        for name, record in measured.items():
            warn_of_halves(record, name)
        if not any(record["pairs"] for record in measured.values()):
            raise DataError("pairs: no pool holds two modalities that a path joins: there is nothing to retrieve.")
        graph = aligned.aligner.graph
        metrics = {
            "run": aligned.folder.name,
            "seed": aligned.config.seed,
            "connected": graph.connected,
            "synthetic": any(pool.synthetic for pool in pools.values()),
            "left_out": {name: dict(pool.bad) for name, pool in pools.items()},
            "active_dimensions": {edge_name(edge): aligned.aligner.gates.active(edge) for edge in graph.edges},
            "pools": measured,
            "seconds": time.perf_counter() - start,
        }
        write_metrics(home / "metrics.json", metrics)
        page = build_report(aligned, pools, metrics)
        if add is not None:
            add(aligned, page)
        report = page.write(home / "report.html")
    return Evaluation(metrics, "\n\n".join(tables(metrics)), report, pools)


def measure_pool(
    run: AlignRun,
    pool: EvalPool,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    *,
    visible: Visible | None = None,
    known: Sequence[str] | None = None,
    same_group: bool = False,
    seed: int = 0,
    training: EvalPool | None = None,
) -> dict[str, Any]:
    """Everything measured of one pool: its pairs of modalities, linear probes, zero-shot classification.

    training: what the probes are trained on; half of the pool where there is none.
    """
    record: dict[str, Any] = {"n": len(pool.keys), "pairs": {}}
    for pair, path in measured_pairs(run.aligner, pool).items():
        record["pairs"][edge_name(pair)] = measure_pair(
            run.aligner, pool, pair, path, visible=visible, same_group=same_group, seed=seed
        )
    if probed(pool):
        record["probes"] = measure_probes(pool, training, seed=seed)
        record["probes_trained_on"] = trained_on(pool, training)
        record["gates"] = measure_kept(run.aligner, pool, visible, seed)
    zero_shot = _zero_shot(run, pool, classes, templates, known, seed)
    if zero_shot:
        record["zero_shot"] = zero_shot
    record["verdicts"] = pool_verdicts(record)
    return record


def _zero_shot(
    run: AlignRun,
    pool: EvalPool,
    classes: Sequence[str] | None,
    templates: str | Sequence[str] | None,
    known: Sequence[str] | None,
    seed: int,
) -> dict[str, Any]:
    """Top-k of every modality that a path joins to text, on plain labels that are class names."""
    labels = pool.factors.get("label")
    if labels is None or not all(isinstance(label, str) for label in labels):
        return {}
    names = list(classes) if classes else sorted(set(labels))
    rows = [i for i, label in enumerate(labels) if label in names]
    if len(names) < 2 or not rows:
        return {}
    groups = [pool.clusters[i] for i in rows] if pool.clusters else None
    aligner, scores = run.aligner, {}
    texts = [m for m in aligner.encoders if aligner.encoder(m).signal.kind == "text"]
    for text in texts:
        for modality in pool.latents:
            if modality == text or aligner.graph.path(text, modality) is None:
                continue
            gate = aligner.path_gate(modality, text).detach().cpu()
            kind = templates or template_kind(modality, aligner.encoder(modality).signal.kind)
            encode = partial(encode_texts, aligner, text, modality)
            vectors = class_embeddings(encode, names, kind)
            embeddings = (gate * pool.latents[modality].shared)[rows]
            if known:
                embeddings = through_known(embeddings, class_embeddings(encode, known, kind))
            truth = [names.index(labels[i]) for i in rows]
            way = f"{modality} by {text}" + (", through known classes" if known else "")
            scores[way] = classify(embeddings, truth, vectors, names, groups=groups, seed=seed)
    return scores
