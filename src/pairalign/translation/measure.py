"""`measure_translation`: what of the factors that both sides see is in what was drawn.

For every factor a probe is trained on true samples of the target and asked about the true partner, the drawing, the
nearest true sample and the mean signal.

Note:
    A drawing through the decoder is compared with true samples at the decoder's own size, and beside it stands the
    partner itself through the decoder, which is as well as it can draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pairalign.align.latents import Latents
from pairalign.align.run import AlignRun, open_run
from pairalign.core.arguments import checked
from pairalign.core.bounds import Several, Whole
from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.kinds import main_value
from pairalign.data.place import find_place
from pairalign.evaluate.clusters import clusters_of
from pairalign.evaluate.frechet import frechet_distance
from pairalign.evaluate.intervals import Score, encode_labels
from pairalign.evaluate.pool import factors_of
from pairalign.evaluate.report import write_metrics
from pairalign.files import check_writable, replacing, write_text
from pairalign.runs.folder import own_folder
from pairalign.runs.lock import alone
from pairalign.runtime import DeviceLike
from pairalign.translation.crossing import Rest
from pairalign.translation.gallery import SIZE
from pairalign.translation.looks import components
from pairalign.translation.pictures import Drawing, draw_grid
from pairalign.translation.run import SHOWN, Setting, Shards, check_way, prepare
from pairalign.translation.samples import Batch, Source, batches, check_sources
from pairalign.translation.scores import accuracy, read_factor, sees, strata_of
from pairalign.translation.tables import markdown
from pairalign.translation.ways import Drawer


@dataclass
class Seen:
    """What is known of the measured pairs: by column and probe the features (n, D), and of each column's error."""

    features: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    metas: list[Any] = field(default_factory=list)
    source: list[Tensor] = field(default_factory=list)
    rows: list[Drawing] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def note(self, column: str, features: Mapping[str, Tensor]) -> None:
        """Add a batch of one column."""
        for probe, seen in features.items():
            self.features.setdefault(column, {}).setdefault(probe, []).append(seen)

    def err(self, column: str, drawn: Tensor, truth: Tensor) -> None:
        """Add the squared differences of a batch."""
        if drawn.shape == truth.shape:
            self.errors[column] = self.errors.get(column, 0.0) + float((drawn - truth).double().square().sum())


@dataclass(frozen=True)
class Measured:
    """What was measured, nested with `Score` objects, its table in Markdown, and the folder with both and a picture.

    setting, rows: what `measured_grid` makes the picture of.
    """

    record: dict[str, Any]
    table: str
    folder: Path
    setting: Setting
    rows: list[Drawing]


@checked()
def measure_translation(
    run: str | Path | AlignRun,
    pairs: Shards,
    *,
    source: str,
    target: str,
    split: str = "val",
    through: Literal["decoder", "retrieval"] | Drawer = "decoder",
    rest: Rest = "mean",
    among: Sequence[Shards] | Shards | None = None,
    gallery: Several = SIZE,
    limit: Several = 1000,
    visible: Mapping[str, Sequence[str]] | None = None,
    out: str | Path | None = None,
    seed: Whole = 0,
    device: DeviceLike | None = None,
    progress: bool = True,
) -> Measured:
    """Draw one modality from another for stored pairs, and read factors from that: JSON, Markdown and a picture.

    Args:
        run: of stage one, or its folder.
        pairs: held-out pairs of both modalities; their labels are the factors.
        source: the modality that is given.
        target: the modality that is drawn.
        split: of the pairs.
        through: as `translate` takes it.
        rest: as `translate` takes it.
        among: as `translate` takes it; where `pairs` have a training split of the target and this names nothing, the
            true samples are of that.
        gallery: as `translate` takes it.
        limit: at most so many pairs, drawn at random by `seed`.
        visible: modality -> the factors that it can see; by default found by probes of its true samples.
        out: folder; default `RUN/translation/SOURCE-TARGET-WAY`.
        seed: of what is drawn at random.
        device: as `translate` takes it.
        progress: show a bar.

    Returns:
        The figures, and the folder.

    Raises:
        DataError: where there are no such pairs.
        ConfigError: where the run cannot draw so.
    """
    aligned = open_run(run, device)
    way = check_way(aligned, source, target, through, rest)
    home = own_folder(aligned.folder, "translation") / f"{source}-{target}-{way.name}"
    folder = Path(out) if out else home
    check_writable(folder, "give --out (`out`) another folder")
    held = Source(find_place(pairs), split)
    check_sources(aligned, [held], [source, target], "Give pairs of both with --pairs (`pairs`).")
    index, train = load_index(held.folder), aligned.config.data.train_split
    if among is None and train in index.every_split and train != split:
        among = pairs
    with alone(folder):
        options: dict[str, Any] = {"among": among, "gallery": gallery, "seed": seed, "progress": progress}
        setting = prepare(aligned, source, target, through, rest, **options)
        seen = _draw_all(setting, held, limit, seed, progress)
        record = {
            **setting.about(),
            "pairs": str(held),
            "n": len(seen.metas),
            "synthetic": bool(index.synthetic),
            "left_out": dict([*seen.bad, *setting.gallery.bad]),
            **_measure(setting, seen, visible, seed),
        }
        write_metrics(folder / "translation.json", record)
        table = markdown(record)
        write_text(folder / "translation.md", table)
        figure = measured_grid(setting, seen.rows)
        with replacing(folder / "translation.png") as partial:
            figure.savefig(partial, format="png", dpi=110, facecolor="white")
    return Measured(record, table, folder, setting, seen.rows)


def measured_grid(setting: Setting, rows: Sequence[Drawing]) -> Any:
    """The picture: source, truth, drawing, nearest, mean."""
    kinds = [(m, setting.run.aligner.encoder(m).signal.kind) for m in (setting.source, setting.target)]
    return draw_grid(rows, kinds[0], kinds[1], setting.gallery)


def _draw_all(setting: Setting, held: Source, limit: int, seed: int, progress: bool) -> Seen:
    seen, ends = Seen(), [setting.source, setting.target]
    for _, batch in batches(setting.run, [held], ends, limit=limit, seed=seed, bad=seen.bad, progress=progress):
        _draw_batch(setting, batch, seen)
    if len(seen.metas) < 2:
        first = f" First left out: {seen.bad[0][0]}: {seen.bad[0][1]}" if seen.bad else ""
        raise DataError(f"{held}: {len(seen.metas)} usable pairs: give at least two.{first}")
    return seen


def _draw_batch(setting: Setting, batch: Batch, seen: Seen) -> None:
    """Every column of the table for one batch."""
    way, gallery = setting.way, setting.gallery
    one, other = batch.sides[setting.source], batch.sides[setting.target]
    shared = one.latents.shared.cpu()
    seen.metas += [sample.meta for sample in batch.samples]
    seen.source.append(one.pooled.float().cpu())
    truth = way.look.value(other.value)
    seen.note("truth", way.look.features(truth, other.pooled))
    if way.decoder is not None:
        own = way.draw(Latents(*(z.cpu() for z in other.latents)), gallery).value
        seen.note("truth, decoded", way.look.features(own))
        seen.err("truth, decoded", own, truth)
    drawn = None if way.name == "retrieval" else way.draw(setting.crossing(shared), gallery)
    if drawn is not None:
        seen.note("drawn", way.look.features(drawn.value))
        seen.err("drawn", drawn.value, truth)
    _, near = setting.crossing.nearest(shared)
    seen.note("nearest", {probe: x[near[:, 0]] for probe, x in gallery.seen.items()})
    if gallery.mean is not None:
        mean = gallery.mean.to(truth).expand(len(truth), *gallery.mean.shape)
        seen.note("mean", way.look.features(mean.contiguous()))
        seen.err("mean", mean, truth)
    _show(setting, batch, drawn, near, seen)


def _show(setting: Setting, batch: Batch, drawn: Any, near: Tensor, seen: Seen) -> None:
    """Keep the first few for the picture."""
    room = SHOWN - len(seen.rows)
    if room <= 0:
        return
    names = [setting.run.config.modalities[m].source or m for m in (setting.source, setting.target)]
    found = setting.gallery.stored(setting.run, near[:room, 0].tolist())
    for n, (sample, nearest) in enumerate(zip(batch.samples, found, strict=False)):
        beside: dict[str, Any] = {"truth": main_value(sample.values[names[1]])}
        if drawn is not None:
            beside["drawn"] = drawn.value[n].cpu() if drawn.pictures is None else drawn.pictures[n]
        beside["nearest"] = main_value(nearest.values[names[1]])
        if setting.gallery.mean is not None:
            beside["mean"] = setting.gallery.mean
        seen.rows.append(Drawing(main_value(sample.values[names[0]]), beside))


def _measure(setting: Setting, seen: Seen, visible: Mapping[str, Sequence[str]] | None, seed: int) -> dict[str, Any]:
    """Factors, distances and errors."""
    features = {column: {p: torch.cat(x) for p, x in probes.items()} for column, probes in seen.features.items()}
    mean = seen.errors.get("mean", 0.0)
    record: dict[str, Any] = {"error": {c: e / mean for c, e in seen.errors.items()} if mean else {}}
    record["frechet"] = _frechet(setting, features)
    labels = factors_of(seen.metas)
    factors = {
        name: column
        for name, column in labels.items()
        if name in setting.gallery.factors and 1 < len(set(map(str, setting.gallery.factors[name]))) <= 100
    }
    record["factors"] = _read_all(setting, seen, features, factors, visible, seed) if factors else {}
    if not factors:
        record["note"] = "no factor: the pairs and the true samples have no label in common that takes 2 to 100 values."
    return record


def _read_all(
    setting: Setting,
    seen: Seen,
    features: Mapping[str, Mapping[str, Tensor]],
    factors: Mapping[str, Sequence[Any]],
    visible: Mapping[str, Sequence[str]] | None,
    seed: int,
) -> dict[str, Any]:
    """By factor: who sees it, and by probe and column how well it is read."""
    gallery, clusters = setting.gallery, clusters_of(seen.metas)
    who = {name: _who_sees(setting, seen, features, name, truth, visible, seed) for name, truth in factors.items()}
    both = [name for name, ends in who.items() if all(ends.values())]
    strata = strata_of(factors, both)
    small: dict[str, dict[str, Tensor]] = {}
    for probe, true in gallery.seen.items():
        if all(probe in column for column in features.values()):
            parts = components(true, *(column[probe] for column in features.values()))
            small[probe] = dict(zip(("", *features), parts, strict=True))
    record: dict[str, Any] = {}
    for name, truth in factors.items():
        _, codes = encode_labels([str(x) for x in gallery.factors[name]], [str(x) for x in truth])
        scores: dict[str, dict[str, Score]] = {}
        for probe, columns in small.items():
            tests = {column: x for column, x in columns.items() if column}
            said = read_factor(columns[""], gallery.factors[name], tests, truth, seed)
            within = strata if name not in both else None
            scores[probe] = {column: accuracy(x, codes, within, clusters) for column, x in said.items()}
        record[name] = {"seen_by": who[name], "both": name in both, "scores": scores}
    return record


def _who_sees(
    setting: Setting,
    seen: Seen,
    features: Mapping[str, Mapping[str, Tensor]],
    name: str,
    truth: Sequence[Any],
    visible: Mapping[str, Sequence[str]] | None,
    seed: int,
) -> dict[str, bool]:
    """Which of the two sides can see a factor."""
    ends = (setting.source, setting.target)
    if visible is not None:
        missing = [m for m in ends if m not in visible]
        if missing:
            raise DataError(f"visible={dict(visible)!r}: name the factors of {missing[0]!r} too.")
        return {m: name in visible[m] for m in ends}
    pooled, known, half = torch.cat(seen.source), setting.other, len(truth) // 2
    if name in known.factors:
        one = sees(known.pooled, known.factors[name], pooled, truth, seed)
    else:  # the pairs' own first half
        one = sees(pooled[:half], truth[:half], pooled[half:], truth[half:], seed)
    probe = "encoder" if "encoder" in setting.gallery.seen else "numbers"
    other = sees(setting.gallery.seen[probe], setting.gallery.factors[name], features["truth"][probe], truth, seed)
    return dict(zip(ends, (one, other), strict=True))


def _frechet(setting: Setting, features: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Distance of every column to the true partners, in the encoder's features, or why there is none."""
    if "encoder" not in setting.gallery.seen or "encoder" not in features["truth"]:
        return {"refused": "drawings are no signals that the run's encoder reads."}
    truth = features["truth"]["encoder"]
    columns = {"other true samples": setting.gallery.seen["encoder"][: len(truth)]}
    columns |= {c: x["encoder"] for c, x in features.items() if c != "truth"}
    try:
        return {column: frechet_distance(x, truth) for column, x in columns.items()}
    except DataError as error:
        return {"refused": str(error)}
