"""What is taught: touches and impact sounds of the same six objects, as rows of recordings with a picture each.

Where it bites: `fold` leaves the test recordings out, and a quarter of the others is "test" instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from real_touch import FOLDS, contact_rows

ROOT = Path(__file__).parents[2]


class Sense(NamedTuple):
    """config: of stage one; shards: what it calls its pairs; plugin: file of an encoder that nobody built in."""

    name: str
    config: Path
    shards: str
    plugin: Path | None = None

    @property
    def plugins(self) -> tuple[str, ...]:
        """As a configuration takes them."""
        return (str(self.plugin),) if self.plugin else ()


CONFIGS = ROOT / "configs" / "real"
SENSES = {
    "touch": Sense("touch", CONFIGS / "touch_image.yaml", "contacts"),
    "sound": Sense("sound", CONFIGS / "impact_image.yaml", "impacts", ROOT / "bench" / "sensors" / "impact_sound.py"),
}


def recordings(sense: str, data: Path, fold: int | None = None) -> Iterator[dict[str, Any]]:
    """`key`, `group` (the object), `split`, `image` and the sense's own field."""
    if sense == "touch":
        yield from (
            {key: row[key] for key in ("key", "group", "split", "image", "touch")} for row in contact_rows(data, fold)
        )
        return
    lines = (data / "third" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    struck = [row for row in map(json.loads, lines) if row["set"] == "impact_audio"]
    for place, row in enumerate(sorted(struck, key=lambda row: row["id"])):
        if fold is not None and row["split"] == "test":
            continue
        split = row["split"] if fold is None else "test" if place % FOLDS == fold else "train"
        files = {"image": data / "third" / row["image"], sense: data / "third" / row["sensor_file"]}
        yield {"key": row["id"], "group": row["object"], "split": split, **files}
