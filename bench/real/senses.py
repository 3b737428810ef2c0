"""What is taught: touches and impact sounds of the same six objects with a picture each, and shapes with their names.

Note:
    `fold` leaves the test recordings out, and a quarter of the others is "test" instead. Names of shapes are read by a
    small text tower that learns beside, since no pretrained one is among the parts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from real_touch import FOLDS, contact_rows

ROOT = Path(__file__).parents[2]


class Sense(NamedTuple):
    """config: of stage one; shards: what it calls its pairs; plugin: file of an encoder that nobody built in; beside:
    what it is paired with; told, steps: what differs from the configuration."""

    name: str
    config: Path
    shards: str
    plugin: Path | None = None
    beside: str = "image"
    told: tuple[str, ...] = ()
    steps: int | None = None

    @property
    def plugins(self) -> tuple[str, ...]:
        """As a configuration takes them."""
        return (str(self.plugin),) if self.plugin else ()


WORDS = (
    "modalities.text={encoder: openclip_text, options: {config: tiny}}",
    "loss.contrast=1",
    "loss.relation=0",
)
CONFIGS = ROOT / "configs" / "real"
SENSES = {
    "touch": Sense("touch", CONFIGS / "touch_image.yaml", "contacts"),
    "sound": Sense("sound", CONFIGS / "impact_image.yaml", "impacts", ROOT / "bench" / "sensors" / "impact_sound.py"),
    "points": Sense("points", CONFIGS / "shapes_text.yaml", "shapes", beside="text", told=WORDS, steps=1200),
}


def register_encoders() -> None:
    """Those that nobody built in, for packs that need them."""
    from pairalign.core.registry import load_plugin

    for sense in SENSES.values():
        for plugin in sense.plugins:
            load_plugin(plugin)


def recordings(sense: str, data: Path, fold: int | None = None) -> Iterator[dict[str, Any]]:
    """`key`, `group` (the object, or the class of a shape), `split`, what it is paired with and the sense's own."""
    if sense == "touch":
        yield from (
            {key: row[key] for key in ("key", "group", "split", "image", "touch")} for row in contact_rows(data, fold)
        )
        return
    folder, files = ("third", {"image": "image", sense: "sensor_file"}) if sense == "sound" else ("shapes", {})
    files = files or {sense: "points"}
    lines = (data / folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row.get("set", "impact_audio") == "impact_audio"]
    for place, row in enumerate(sorted(rows, key=lambda row: row["id"])):
        if fold is not None and row["split"] == "test":
            continue
        split = row["split"] if fold is None else "test" if place % FOLDS == fold else "train"
        told = {"key": row["id"].replace("/", "-"), "group": row.get("object") or row["label"], "split": split}
        words = {} if "object" in row else {"text": row["label"]}
        yield {**told, **words, **{field: data / folder / row[name] for field, name in files.items()}}


def set_apart(
    rows: Iterable[dict[str, Any]], fold: int | None, never: Collection[str], instead: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Rows of groups that training does not meet as "test", all others "train": `never`, or with `fold` those that
    stand in for them, and nothing of `never`."""
    left_out = never if fold is None else instead
    for row in rows:
        if row["group"] in left_out or fold is None or row["group"] not in never:
            yield {**row, "split": "test" if row["group"] in left_out else "train"}
