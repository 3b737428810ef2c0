"""`evaluate_protocol`: one published protocol on an aligned run, as JSON and a short table.

Note:
    Shards and settings are checked before anything is encoded; the file `RUN/evaluation/<protocol>.json` is replaced by
    each run of the same protocol, so give `out` to keep two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairalign.align.run import AlignRun, open_run
from pairalign.core.arguments import checked
from pairalign.core.bounds import Several, Whole
from pairalign.evaluate.protocols.registry import Protocol, check_settings, find_protocol
from pairalign.evaluate.protocols.result import ProtocolResult
from pairalign.evaluate.protocols.task import Task, start_task, trained_here
from pairalign.files import check_writable
from pairalign.runs.folder import own_folder
from pairalign.runs.lock import alone
from pairalign.runtime import DeviceLike


@checked()
def evaluate_protocol(
    run: str | Path | AlignRun,
    pairs: str | Path,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    limit: Several | None = None,
    seed: Whole = 0,
    device: DeviceLike | None = None,
    progress: bool = True,
) -> ProtocolResult:
    """Measure a run as a paper measures, on one shard folder, and write `<name>.json`.

    Args:
        run: of stage one, or its folder.
        pairs: the shard folder.
        name: of the protocol, see `pairalign evaluate --help`.
        settings: of the protocol, see `find_protocol(name).settings`.
        out: folder; default `RUN/evaluation`.
        limit: most samples of each split, for a quick look.
        seed: of the bootstrap and of what a probe holds out.
        device: as in `evaluate_run`.
        progress: show a bar.

    Returns:
        Figures with intervals and chance.

    Raises:
        ConfigError: for an unknown protocol or setting and a run that lacks a modality, before anything is encoded.
        DataError: for shards without the labels, captions, splits or samples that it needs, before anything is encoded.
    """
    protocol, settings = find_protocol(name), dict(settings or {})
    check_settings(protocol, settings)
    aligned = open_run(run, device)
    folder = Path(out) if out else own_folder(aligned.folder, "evaluation")
    check_writable(folder, "give --out (`out`) another folder")
    with alone(folder / f"{protocol.name}.json"):
        task = start_task(aligned, pairs, limit=limit, seed=seed, progress=progress)
        scores = protocol.measure(task, **settings)
        result = ProtocolResult(
            protocol=protocol.name,
            title=protocol.title,
            source=protocol.source,
            run=aligned.folder.name,
            pairs=_about(task),
            n={split: len(pool.keys) for split, pool in task.pools.items()},
            settings=_used(protocol, settings) | {"limit": limit, "seed": seed},
            scores=scores,
            differs=(*protocol.differs, *dict.fromkeys(task.notes), *_limited(task), *_unknown(task)),
            left_out={split: dict(pool.bad) for split, pool in task.pools.items()},
            path=folder / f"{protocol.name}.json",
        )
        result.write()
    return result


def _about(task: Task) -> dict[str, Any]:
    """Which shards these were."""
    index = task.index
    facts = {"source": index.source, "licence": index.licence, "synthetic": index.synthetic}
    return {"folder": task.folder.name, "content_hash": index.content_hash, **facts}


def _used(protocol: Protocol, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the protocol, given or by default."""
    return {name: settings.get(name, parameter.default) for name, parameter in protocol.settings.items()}


def _limited(task: Task) -> list[str]:
    """A note where `limit` cut something off."""
    cut = [split for split in task.pools if task.limit and len(task.meta(split)) > task.limit]
    return [f"only the first {task.limit} samples of {', '.join(cut)}."] if cut else []


def _unknown(task: Task) -> list[str]:
    """A note where leakage from the run's own training cannot be counted."""
    note = "the run learnt from other shards: whether it met these samples is not known."
    return [] if trained_here(task) else [note]
