"""`ablate`: stage one as configured, and once without each of its own terms, measured on the same pairs.

Every arm is a plain run of `pairalign align` in a folder of its own, so that the same command goes on where it was
stopped and trains nothing twice.

Note:
    One seed an arm. Intervals are over the measured samples and know nothing of what another seed would give; repeat
    with `seed=1` and another `out` before believing a small difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pairalign.align.run import AlignRun, align_pairs
from pairalign.core.arguments import checked
from pairalign.core.bounds import Several, Whole
from pairalign.core.config import AlignConfig
from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.index import load_index
from pairalign.data.place import Remote, find_place
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.measure import Visible
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.probes import told, training_pools
from pairalign.evaluate.report import markdown_table, write_metrics
from pairalign.evaluate.run import measure_pool
from pairalign.evaluate.tables import Rows
from pairalign.files import check_writable, replacing, write_text
from pairalign.processes.launch import current
from pairalign.runs.lock import alone

FULL = "full"
WITHOUT: dict[str, tuple[str, Any]] = {
    "reconstruction": ("reconstruct", 0.0),
    "gates": ("gates", False),
    "norm": ("minimal", 0.0),
}
"""Name of a term -> setting of `loss` and the value that switches it off."""


@dataclass(frozen=True)
class Ablation:
    """The arms' runs, what was measured of each, the folder with both, and the tables in Markdown. Empty in other
    processes than the first."""

    runs: dict[str, AlignRun]
    record: dict[str, Any]
    folder: Path
    table: str


@checked()
def ablate(
    config: AlignConfig,
    pairs: str | Path | Remote,
    *,
    without: Sequence[str] = tuple(WITHOUT),
    split: str = "val",
    out: str | Path | None = None,
    visible: Visible | None = None,
    limit: Several | None = None,
    seed: Whole = 0,
    progress: bool = True,
) -> Ablation:
    """Train and measure a configuration as it is, and once without each of some terms.

    Args:
        config: of stage one.
        pairs: what is measured, as `evaluate_run` takes it.
        without: "reconstruction" (loss.reconstruct 0), "gates" (loss.gates false), "norm" (loss.minimal 0).
        split: of the pairs.
        out: folder with a run for each arm and ablation.json, .md and .png; default `OUT.ablation` beside the config's.
        visible: as `evaluate_run` takes it.
        limit: most samples that are measured.
        seed: of what is drawn in measuring.
        progress: show bars.

    Returns:
        The figures of every arm.

    Raises:
        ConfigError: for a term that is unknown or off already, before anything is trained.
        DataError: for pairs that hold nothing to compare, before anything is trained.
    """
    folder = Path(out) if out else Path(f"{config.out}.ablation")
    arms = arm_configs(config, without, folder)
    check_writable(folder, "give --out (`out`) another folder")
    _check_pairs(config, pairs, split)
    with alone(folder):
        runs = {name: align_pairs(arm, progress=progress) for name, arm in arms.items()}
        if not current().main:
            return Ablation({}, {}, folder, "")
        found = {}
        for name, run in runs.items():
            pool = encode_pool(run, pairs, split, limit=limit, progress=progress)
            where = [(find_place(pairs), split)]
            training = training_pools(run, where, {pool.name: pool}, limit=limit, progress=progress).get(pool.name)
            found[name] = measure_pool(run, pool, visible=visible, seed=seed, training=training)
        record = {
            "pairs": str(find_place(pairs)),
            "split": split,
            "seed": config.seed,
            "synthetic": pool.synthetic,
            "n": len(pool.keys),
            "left_out": dict(pool.bad),
            "arms": {name: _arm(measured) for name, measured in found.items()},
        }
        write_metrics(folder / "ablation.json", record)
        table = _markdown(record)
        write_text(folder / "ablation.md", table)
        with replacing(folder / "ablation.png") as partial:
            draw_arms(record).savefig(partial, format="png", dpi=110, facecolor="white")
    return Ablation(runs, record, folder, table)


def arm_configs(config: AlignConfig, without: Sequence[str], folder: Path) -> dict[str, AlignConfig]:
    """The configuration of every arm, the full one first; frozen towers' features are computed once for all."""
    if not without:
        raise ConfigError(f"without=[]: name at least one of {', '.join(WITHOUT)}.")
    cache = config.cache or str(folder / "cache")
    arms = {FULL: replace(config, out=str(folder / FULL), cache=cache)}
    for name in dict.fromkeys(without):
        if name not in WITHOUT:
            raise ConfigError(f"without {name!r} is no term of stage one.{did_you_mean(name, WITHOUT)}")
        setting, off = WITHOUT[name]
        if getattr(config.loss, setting) == off:
            raise ConfigError(f"without {name!r}: loss.{setting} is {off} already: leave it out, or switch it on.")
        loss = replace(config.loss, **{setting: off})
        arms[f"no {name}"] = replace(config, out=str(folder / f"no_{name}"), cache=cache, loss=loss)
    return arms


def edge_rows(record: Mapping[str, Any]) -> Rows:
    """A row for each pair of modalities and arm."""
    arms = record["arms"]
    rows = []
    for pair in arms[FULL]["pairs"]:
        for name, arm in arms.items():
            one = arm["pairs"][pair]
            rows.append([pair, one["status"], name, *one["recall"], *one["factors"], one["active"]])
    head = ["edge", "", "arm", "R@1 → / chance", "R@1 ← / chance", "top-1 on factors →", "top-1 on factors ←"]
    return [*head, "dimensions in use"], rows


def probe_rows(record: Mapping[str, Any]) -> Rows:
    """A row for each modality, factor and arm."""
    arms = record["arms"]
    rows = [
        [modality, factor, name, *(arm["probes"][modality].get(part, {}).get(factor) for part in ("shared", "private"))]
        for modality in arms[FULL]["probes"]
        for factor in next(iter(arms[FULL]["probes"][modality].values()))
        for name, arm in arms.items()
    ]
    return ["modality", "factor", "arm", "from shared / majority", "from private / majority"], rows


def draw_arms(record: Mapping[str, Any]) -> Any:
    """Recall of every pair of modalities, arm by arm."""
    from pairalign.evaluate.pictures import draw_recall

    rows: dict[str, dict[str, Score]] = {}
    emergent = []
    for pair in record["arms"][FULL]["pairs"]:
        for name, arm in record["arms"].items():
            one, label = arm["pairs"][pair], f"{pair}, {name}"
            rows[label] = {"R@1 →": one["recall"][0], "R@1 ←": one["recall"][1]}
            if one["status"] == "emergent":
                emergent.append(label)
    return draw_recall(rows, emergent)


def _arm(pool: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared of one arm's pool."""
    pairs = {}
    for name, pair in pool["pairs"].items():
        factors = pair.get("agreement", {}).get("all", {})
        pairs[name] = {
            "status": pair["status"],
            "recall": [way.recall[1] for way in pair["retrieval"]],
            "factors": [factors.get("forward"), factors.get("backward")],
            "active": pair["dimensions"].n_active,
        }
    probes = {
        modality: {part: {f: s and s.accuracy for f, s in found.items()} for part, found in parts.items()}
        for modality, parts in pool.get("probes", {}).items()
    }
    return {"pairs": pairs, "probes": probes, "probed": told(pool), "gates": pool.get("gates", {})}


def _check_pairs(config: AlignConfig, pairs: str | Path | Remote, split: str) -> None:
    place = find_place(pairs)
    index = load_index(place)
    if split not in index.every_split:
        raise DataError(f"pairs {str(place)!r} have no split {split!r}.{did_you_mean(split, index.every_split)}")
    held = [m for m, told in config.modalities.items() if (told.source or m) in index.modalities]
    if len(held) < 2:
        raise DataError(
            f"pairs {str(place)!r} hold {', '.join(index.modalities)}, of which the run aligns {len(held)}: give pairs "
            "of two."
        )


def _markdown(record: Mapping[str, Any]) -> str:
    lines = ["# Stage one without each of its terms", ""]
    lines += ["Synthetic data, drawn by a program.", ""] if record["synthetic"] else []
    lines += [f"{record['n']} pairs of split `{record['split']}`, seed {record['seed']}, one run an arm.", ""]
    for rows in (edge_rows(record), probe_rows(record)):
        if rows[1]:
            lines += [*markdown_table(*rows), ""]
    lines += [f"Linear probes: {record['arms'][FULL]['probed']}.", ""] if probe_rows(record)[1] else []
    return "\n".join([*lines, "Behind the interval, after the slash: chance.", ""])
