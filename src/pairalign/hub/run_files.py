"""A finished run of stage one as files that others load: what names a place of this machine stays here.

Note:
    Plugins are code and stay here, too; a run whose encoder can only be built on this machine is refused. The run is
    loaded first, so that what is published is known to load.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairalign.align.run import AlignRun, load_aligned
from pairalign.core.config import AlignConfig, load_config, to_dict, to_yaml
from pairalign.core.plugins import is_file
from pairalign.core.record import read_record
from pairalign.data.graph import edge_name
from pairalign.export.local import check_options, is_path, without_paths
from pairalign.files import write_json, write_text
from pairalign.hub.metadata import run_head
from pairalign.hub.place import RUN

METRICS, VERSIONS = "evaluation/metrics.json", "versions.json"


def write_run(run: Path, folder: Path, name: str) -> None:
    """Configuration, weights, figures where there are any, and a card that calls the run `name`.

    Raise `CheckpointError` for a run that is unfinished or damaged, `PackError` for one that others cannot build.
    """
    aligned = load_aligned(run)
    for modality, told in aligned.config.modalities.items():
        check_options(modality, aligned.aligner.encoder(modality).bare(told.options))
    plugins = [Path(plugin).name for plugin in aligned.config.plugins if is_file(plugin)]
    modules = [plugin for plugin in aligned.config.plugins if not is_file(plugin)]
    values = {**without_paths(to_dict(aligned.config)), "out": name.rpartition("/")[2], "plugins": modules}
    config, weights = RUN
    write_text(folder / config, to_yaml(load_config(AlignConfig, values)))
    shutil.copyfile(run / weights, folder / weights)
    if (run / VERSIONS).is_file():
        shutil.copyfile(run / VERSIONS, folder / VERSIONS)
    metrics: dict[str, Any] = {}
    if (run / METRICS).is_file():
        metrics = without_paths(read_record(run / METRICS, dict[str, Any]))
        metrics["pools"] = {_short(pool): record for pool, record in metrics.get("pools", {}).items()}
        (folder / METRICS).parent.mkdir()
        write_json(folder / METRICS, metrics)
    write_text(folder / "README.md", "\n".join(_card(aligned, metrics, plugins, name)) + "\n")


def _short(pool: str) -> str:
    return "/".join(Path(pool).parts[-3:]) if is_path(pool) else pool


def _card(aligned: AlignRun, metrics: Mapping[str, Any], plugins: list[str], name: str) -> Iterator[str]:
    modalities = aligned.config.modalities
    encoders = {one: aligned.aligner.encoder(one) for one in modalities}
    licences = {one: str(encoder.card.get("licence", "not stated")) for one, encoder in encoders.items()}
    yield run_head(metrics, list(modalities), licences.values(), name)
    yield from (f"# One space for {', '.join(modalities)}", "", "```python", "import pairalign as pa", "")
    named = f"plugins={plugins!r}" if plugins else ""
    yield f"run = pa.PublishedRun.from_pretrained({name!r}).open({named})"
    one = next((n for n, encoder in encoders.items() if encoder.signal.kind != "text"), next(iter(modalities)))
    yield from (f'vector = run.embed({one!r}, "recording")  # a file, an array or a picture', "```", "")
    if plugins:
        yield f"Its encoders are registered by {', '.join(plugins)}, which is code and not part of this repository."
        yield ""
    for modality, encoder in encoders.items():
        signal = encoder.signal
        size = " × ".join("any" if n is None else str(n) for n in signal.shape) or "any"
        yield (
            f"- **{modality}**: encoder `{modalities[modality].encoder}` reads {signal.kind} of {size} in "
            f"{signal.unit}; licence of the encoder: {licences[modality]}."
        )
    trained = ", ".join(edge_name(edge.between) for edge in aligned.config.edges)
    yield from (
        "",
        f"Trained on pairs of {trained} alone, seed {aligned.config.seed}; every other pair is emergent.",
        "",
    )
    yield from _measured(metrics)


def _measured(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Recall of every pair, chance and interval beside it; that nothing was measured, where nothing was."""
    pools = metrics.get("pools", {})
    if not pools:
        yield "Not measured: `pairalign evaluate RUN --pairs SHARDS` before it is pushed puts figures here."
        return
    if metrics.get("synthetic"):
        yield "Measured on **synthetic** data, which says nothing about a real sensor."
        yield ""
    yield from ("| pool | direction | pairs | R@1 | 95 % interval | chance | n |", "|---|---|---|---|---|---|---|")
    for pool, record in pools.items():
        for pair in record["pairs"].values():
            ends = [pair["path"][0], pair["path"][-1]]
            for way, (a, b) in (("forward", ends), ("backward", ends[::-1])):
                score = pair.get("retrieval", {}).get(way, {}).get("R@1")
                if score is not None:
                    yield (
                        f"| {pool} | {a} → {b} | {pair['status']} | {score['value']:.3f} | {score['low']:.3f} to "
                        f"{score['high']:.3f} | {score['chance']:.4f} | {score['n']} |"
                    )
