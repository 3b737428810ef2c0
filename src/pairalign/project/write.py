"""The project's folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pairalign.core.errors import ConfigError
from pairalign.files import replacing, write_json
from pairalign.finetune.sequence.schema import config_schema
from pairalign.project.encoder import KINDS, PARTNERS, encoder_files
from pairalign.project.rows import abilities, recordings, split_of

LEAST = 10
RESERVED = ("image", "text", "question", "answer", "key", "label", "group", "session", "split")


def start_project(
    folder: Path, name: str, *, kind: str = "series", partner: str = "image", count: int = LEAST, seed: int = 0
) -> list[Path]:
    """Write a working project into `folder`, which must not exist or be empty; the files that a user reads.

    kind: of signal, "series", "image", "points" or "vector". partner: what the recordings pair it with, "image" or
    "text". count: made-up rows, at least 10.

    Raises:
        ConfigError: a name that Python or a manifest cannot have, another kind or partner, fewer rows, a folder that
            holds something.
    """
    _check(folder, name, kind, partner, count)
    signal = f"recordings/0000-{name}.{'png' if kind == 'image' else 'npy'}"
    values = {"name": name, "partner": partner, "count": count, "signal": signal, **_sizes(count)}
    with replacing(folder) as partial:
        held = partial / "recordings"
        held.mkdir(parents=True)
        (partial / "schemas").mkdir()
        rows = list(recordings(held, name, kind, partner, count, seed))
        _write_rows(partial / "recordings.jsonl", rows)
        _write_rows(partial / "abilities.jsonl", abilities(held, partner, count, seed))
        values["question"] = rows[0]["question"]
        values["ability"] = "{image} {question}" if partner == "image" else "{text}. {question}"
        values["pack"] = KINDS[kind].pack.format(name=name)
        texts = encoder_files(name, kind) | {
            f"{name}.yaml": _filled("align.yaml", values),
            "teach.yaml": _filled("teach.yaml", values),
            "README.md": _filled("README.md", values),
        }
        for file, text in texts.items():
            (partial / file).write_text(text, encoding="utf-8")
        for schema in ("align", "recompose"):
            write_json(partial / "schemas" / f"{schema}.json", config_schema(schema), indent=1)
        shutil.copytree(str(files("pairalign.demo") / "base"), partial / "base")
    return [folder / file for file in (*texts, "recordings.jsonl", "abilities.jsonl")]


def _check(folder: Path, name: str, kind: str, partner: str, count: int) -> None:
    encoder_files(name, "series")  # a name that Python can have
    if name in RESERVED:
        raise ConfigError(f"name {name!r}: the recordings have a column of that name: choose another one.")
    for argument, value, known in (("kind", kind, tuple(KINDS)), ("partner", partner, PARTNERS)):
        if value not in known:
            raise ConfigError(f"{argument} {value!r}: give one of {', '.join(known)}.")
    if count < LEAST:
        raise ConfigError(f"rows is {count}: give at least {LEAST}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{str(folder)!r} exists already: choose another folder with --out, or move it away.")


def _sizes(count: int) -> dict[str, int]:
    """Steps, batch and calibration samples that suit so many rows."""
    trained = sum(split_of(number, count) == "train" for number in range(count))
    return {"steps": min(400, 4 * count), "batch": min(32, trained), "calibration": min(128, trained)}


def _filled(template: str, values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    text = (files("pairalign.project") / "templates" / template).read_text(encoding="utf-8")
    made = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return made.from_string(text).render(values)


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
