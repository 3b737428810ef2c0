"""`translate`: signals of one modality, from files, as drawings of another.

Note:
    What is written is in the target's own form (a picture as PNG, a text as txt, anything else as an array in the
    numbers that its encoder takes), and `translation.json` says of each where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pairalign.align.run import AlignRun, open_run
from pairalign.core.arguments import checked
from pairalign.core.bounds import Several, Whole
from pairalign.core.errors import ConfigError, DataError, PairalignError, did_you_mean
from pairalign.data.decode import read_signal
from pairalign.data.encode import ImageFormat
from pairalign.data.encode import encode as encode_value
from pairalign.data.kinds import main_value
from pairalign.data.place import Remote, find_place
from pairalign.evaluate.report import write_metrics
from pairalign.files import check_writable, replacing, write_bytes
from pairalign.runs.lock import alone
from pairalign.runtime import DeviceLike
from pairalign.translation.crossing import RESTS, Crossing, Rest, path_crossing
from pairalign.translation.gallery import SIZE, Gallery, read_gallery
from pairalign.translation.pictures import Drawing, draw_grid, shown
from pairalign.translation.samples import Source, check_sources, encode, training_sources
from pairalign.translation.ways import WAYS, Drawer, Drawn, Way

Shards = str | Path | Remote
PNG = ImageFormat("png")
SHOWN = 8


@dataclass(frozen=True)
class Translation:
    """What `translate` wrote: its folder, a file for each source file, and the record that says how."""

    folder: Path
    files: list[Path]
    record: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A run, the two modalities, and what they are translated with: true samples of the target, and `other` ones of the
    source."""

    run: AlignRun
    source: str
    target: str
    way: Way
    crossing: Crossing
    gallery: Gallery
    other: Gallery

    def about(self) -> dict[str, Any]:
        """How drawings came to be, for a record."""
        path = self.run.aligner.graph.path(self.source, self.target)
        return {
            "run": self.run.folder.name,
            "from": self.source,
            "to": self.target,
            "path": list(path or ()),
            "through": self.way.name,
            "rest": self.crossing.rest,
            "crossing_dimensions": self.crossing.kept,
            "gallery": self.gallery.about(),
        }


@checked()
def translate(
    run: str | Path | AlignRun,
    files: Sequence[str | Path],
    *,
    source: str,
    target: str,
    out: str | Path,
    through: Literal["decoder", "retrieval"] | Drawer = "decoder",
    rest: Rest = "mean",
    among: Sequence[Shards] | Shards | None = None,
    gallery: Several = SIZE,
    seed: Whole = 0,
    device: DeviceLike | None = None,
    progress: bool = True,
) -> Translation:
    """Draw signals of one modality, from files, as another, into a folder.

    Args:
        run: of stage one, or its folder.
        files: with the signals.
        source: their modality.
        target: the modality that is drawn.
        out: the folder.
        through: "decoder" draws by the decoder that stage one trained; "retrieval" gives the nearest stored sample; an
            object with `draw` is a pretrained decoder of the target's frozen tower, see `Drawer`.
        rest: what the target's private part, and shared dimensions that do not cross, are set to: their "mean" over
            true samples of the target, or that of the "nearest" five.
        among: shard folders with true samples of the target, split "train"; by default those that the run learnt it
            from.
        gallery: how many of them at most, 2 or more, drawn at random by `seed`.
        seed: of that.
        device: what computes; as `evaluate_run` takes it.
        progress: show a bar.

    Returns:
        What was drawn, and where it lies.

    Raises:
        ConfigError: for modalities or a way that the run does not have, before anything is encoded.
        DataError: for files and shards that cannot be read, before anything is encoded.
    """
    folder = Path(out)
    check_writable(folder, "give --out (`out`) another folder")
    if not files:
        raise DataError("files=[]: give at least one file to translate.")
    raws = [read_signal(file) for file in files]
    aligned = open_run(run, device)
    with alone(folder):
        setting = prepare(
            aligned, source, target, through, rest, among=among, gallery=gallery, seed=seed, progress=progress
        )
        encoder = aligned.aligner.encoder(source)
        values = [_preprocessed(encoder, raw, file, source) for raw, file in zip(raws, files, strict=True)]
        shared = encode(aligned, source, values).latents.shared.cpu()
        similarity, rows = setting.crossing.nearest(shared)
        nearest = setting.gallery.stored(aligned, rows[:, 0].tolist())
        drawn = None if setting.way.name == "retrieval" else setting.way.draw(setting.crossing(shared), setting.gallery)
        written, lines = [], []
        for n, file in enumerate(files):
            value = _written_value(setting, drawn, n, nearest[n].values)
            extension, data = encode_value(value, PNG)
            written.append(write_bytes(folder / f"{n:03d}-{Path(str(file)).stem}.{extension}", data))
            near = {"key": nearest[n].key, "cosine": float(similarity[n, 0])}
            lines.append({"file": str(file), "written": written[-1].name, "nearest": near})
        record = {**setting.about(), "files": lines}
        write_metrics(folder / "translation.json", record)
        _write_grid(setting, raws, drawn, nearest, folder / "translation.png")
    return Translation(folder, written, record)


def prepare(
    run: AlignRun,
    source: str,
    target: str,
    through: Literal["decoder", "retrieval"] | Drawer,
    rest: Rest,
    *,
    among: Sequence[Shards] | Shards | None,
    gallery: int,
    seed: int,
    progress: bool,
    split: str | None = None,
) -> Setting:
    """Check what is asked, and encode true samples of both modalities. split: of `among`, by default the training's."""
    way = check_way(run, source, target, through, rest)
    gate = run.aligner.path_gate(source, target)
    folders = [among] if isinstance(among, (str, Path, Remote)) else list(among or ())
    named = [Source(find_place(folder), split or run.config.data.train_split) for folder in folders]
    targets = named or training_sources(run, target, source)
    fix = "Name others with --among (`among`)." if not named else "Give --among (`among`) another folder."
    check_sources(run, targets, [target], fix)
    sources = training_sources(run, source, target)
    check_sources(run, sources, [source], "The source's own scale is told by the shards that it was trained on.")
    options: dict[str, Any] = {"limit": gallery, "seed": seed, "progress": progress}
    true = read_gallery(run, target, targets, way.look, **options)
    other = read_gallery(run, source, sources, **options)
    crossing = path_crossing(gate, other.latents.shared, true.latents, rest)
    return Setting(run, source, target, way, crossing, true, other)


def check_way(
    run: AlignRun, source: str, target: str, through: Literal["decoder", "retrieval"] | Drawer, rest: str
) -> Way:
    """Raise `ConfigError` unless the run can draw `target` from `source` in this way."""
    for modality in (source, target):
        run.aligner.encoder(modality)
    if source == target:
        raise ConfigError(f"from {source!r} to {target!r}: give two different modalities.")
    if rest not in RESTS:
        raise ConfigError(f"rest={rest!r}.{did_you_mean(rest, RESTS)}")
    if isinstance(through, str) and through not in WAYS:
        raise ConfigError(f"through={through!r}.{did_you_mean(through, WAYS)}")
    if not isinstance(through, (str, Drawer)):
        raise ConfigError(f"through={through!r}: give one of {', '.join(WAYS)}, or an object with draw(embedding).")
    run.aligner.path_gate(source, target)
    return Way(run.aligner, target, through)


def _preprocessed(encoder: Any, raw: Any, file: str | Path, modality: str) -> torch.Tensor:
    try:
        value = encoder.preprocess(raw)
        encoder.signal.check(value, f"file {str(file)!r}, as {modality!r}")
    except PairalignError as error:
        raise DataError(f"file {str(file)!r} is no {modality!r} of this run: {error}") from error
    return value


def _written_value(setting: Setting, drawn: Drawn | None, n: int, stored: Any) -> Any:
    """What is written of drawing n: a picture, a text, or an array in the encoder's numbers."""
    if drawn is None:
        name = setting.run.config.modalities[setting.target].source or setting.target
        return main_value(stored[name])
    if drawn.pictures is not None:
        return drawn.pictures[n]
    if setting.run.aligner.encoder(setting.target).signal.kind == "image":
        return as_picture(setting, drawn.value[n])
    return drawn.value[n].cpu()


def as_picture(setting: Setting, value: torch.Tensor) -> Any:
    """A drawn image (…, H, W) as a PIL picture; black and white are those of the true samples."""
    from PIL import Image

    pixels = shown(value, setting.gallery)
    return Image.fromarray((pixels * 255).round().astype("uint8"))


def _write_grid(setting: Setting, raws: Sequence[Any], drawn: Drawn | None, nearest: Sequence[Any], path: Path) -> None:
    run, name = setting.run, setting.run.config.modalities[setting.target].source or setting.target
    rows = []
    for n, raw in enumerate(raws[:SHOWN]):
        row = {"nearest": main_value(nearest[n].values[name])}
        if drawn is not None:
            row = {"drawn": drawn.pictures[n] if drawn.pictures is not None else drawn.value[n], **row}
        if setting.gallery.mean is not None:
            row["mean"] = setting.gallery.mean
        rows.append(Drawing(main_value(raw), row))
    kinds = tuple(run.aligner.encoder(m).signal.kind for m in (setting.source, setting.target))
    figure = draw_grid(rows, (setting.source, kinds[0]), (setting.target, kinds[1]), setting.gallery)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="white")
