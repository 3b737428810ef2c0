"""The folder of a run: whose it is, which files a run wrote into it, who works in it now, and how it is set aside.

Note:
    A user may name any folder as `out`, his project's too. Only what a run wrote is ever moved, nothing is deleted, and
    a folder in which a run's names are somebody else's files is refused before anything is written.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pairalign import __version__
from pairalign.core.config import load_config, load_written, to_dict, to_yaml
from pairalign.core.earlier import settings_of_today
from pairalign.core.errors import CheckpointError, StorageError
from pairalign.core.notation import read_mapping
from pairalign.core.plugins import is_file, read_plugin
from pairalign.core.record import as_record, read_record
from pairalign.files import remove, remove_leftovers, stays_inside, storage_error, write_json, write_text
from pairalign.hub.place import is_cached
from pairalign.runs.aside import half_aside, move_aside
from pairalign.runs.identity import Identity, missing
from pairalign.runs.lock import hold
from pairalign.runs.plugins import KeptPlugin, check_named, keep_plugins, name_plugins, plugins_of

RECORD = "identity.json"
CONFIG = "config.yaml"
LOCK = ".lock"
METRICS = "metrics.jsonl"
CHECKPOINT = "last.ckpt"
LOGS = "logs"
LOGS_MARK = ".pairalign"  # tells a run's logs from a folder of the user's
DONE = {"align": "model.safetensors", "recompose": "results.json"}  # written last
NAMES = (
    *(RECORD, CONFIG, "versions.json", METRICS, CHECKPOINT, *DONE.values()),
    *("bridge.safetensors", "trained.safetensors", "carried.safetensors", "receipt.json"),
    *(
        "dormant/dormant_model.safetensors",
        "dormant/dormant_config.json",
        "chosen/dormant_model.safetensors",
        "chosen/dormant_config.json",
        "chosen/made_from.json",
        "evaluation/metrics.json",
        "evaluation/report.html",
        "report.html",
    ),
)
_KEPT = re.compile(r"plugins(/(?!\.\.?/)[^/\\\0]+)+(?<!/\.\.)")
_EARLIER = re.compile(r"# pairalign (align|recompose) .*config\.yaml")  # first line that versions without RECORD wrote


@dataclass(frozen=True)
class _Record:
    """What RECORD may say, by type. `config` and `made_from`: see `Identity`."""

    verb: str
    config: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, str | None] = field(default_factory=dict)
    plugins: list[KeptPlugin] = field(default_factory=list)
    begun: str | None = None
    finished: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """The folder `path` of a run of `verb`, "align" or "recompose", whose configuration is a `kind`."""

    path: Path
    verb: str
    kind: type

    @property
    def finished(self) -> bool:
        """Whether a run of this verb ended here."""
        return (self.path / DONE[self.verb]).is_file() and self.owner() == self.verb

    @property
    def trained(self) -> bool:
        """Whether there is something that training made: a checkpoint to go on from, or a finished run."""
        return self.finished or (self.path / CHECKPOINT).exists()

    @property
    def date(self) -> str:
        """When the run finished, to the minute."""
        done = self.path / DONE[self.verb]
        when = self.record().get("finished") or datetime.fromtimestamp(done.stat().st_mtime).isoformat()
        return str(when)[:16].replace("T", " ")

    def record(self) -> dict[str, Any]:
        """What RECORD says; empty where an earlier version wrote none."""
        path = self.path / RECORD
        if not path.is_file():
            return {}
        try:
            found: dict[str, Any] = read_record(path, dict[str, Any])
            as_record(found, _Record)
            return found if found["verb"] in DONE else {}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged ({error!r}): choose another `out`.") from error

    def owner(self) -> str | None:
        """Which verb's run this is; None where no run wrote here."""
        known = self.record()
        if known:
            return str(known["verb"])
        try:
            with (self.path / CONFIG).open(encoding="utf-8") as file:
                match = _EARLIER.fullmatch(file.readline().rstrip("\n"))
        except (OSError, UnicodeDecodeError):
            return None
        return match.group(1) if match else None

    def check_owner(self) -> None:
        """Raise `StorageError` where a run would write over files that are not of a run of this verb, or outside."""
        for name in NAMES:
            if not stays_inside(self.path / name, self.path):
                raise StorageError(f"out={str(self.path)!r} holds {name}, a link that leaves it: choose another `out`.")
        owner = self.owner()
        if owner == self.verb:
            return
        if owner is not None:
            raise StorageError(f"out={str(self.path)!r} is a run of `pairalign {owner}`: choose another `out`.")
        for name in NAMES:
            if (self.path / name).exists():
                raise StorageError(f"out={str(self.path)!r} holds {name}, which no run wrote: choose another `out`.")

    def is_done(self, identity: Identity, *, fresh: bool) -> bool:
        """Whether the run finished before; raise `StorageError` or `IdentityError` where the folder is another's."""
        self.check_owner()
        if fresh or not self.trained:
            return False
        self.check(identity)
        return self.finished

    def check(self, identity: Identity) -> None:
        """Raise `IdentityError` where what was trained here was made from something else."""
        known = self.record()
        if not known:
            print(f"run {str(self.path)!r} kept no hashes: only its configuration is compared", file=sys.stderr)
        config = known.get("config") or self.path / CONFIG
        was = Identity(to_dict(load_config(self.kind, config)), known.get("made_from", {}))
        was.check(identity, self.path)

    def read_config(self) -> Any:
        """The configuration in the folder, see `load_written`; raise `CheckpointError` where a part of it is gone.

        A file that was cut off may well be valid YAML, with defaults in place of what is gone.
        """
        path = self.path / CONFIG
        found: Any = load_written(self.kind, path)
        known, there = self.record().get("config", {}), read_mapping(path)
        gone = list(missing(settings_of_today(self.kind, known), settings_of_today(self.kind, there)))
        if gone:
            raise CheckpointError(f"{str(path)!r} was cut off, it lacks {', '.join(gone[:3])}: copy the run again.")
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other run out while the block goes on; raise `StorageError` if one is at work here."""
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error
        try:
            with hold(self.path / LOCK, f"out={str(self.path)!r}"):
                yield
        finally:
            if made and os.listdir(self.path) == [LOCK]:  # nothing was begun
                shutil.rmtree(self.path)

    def begin(self, config: Any, identity: Identity, *, fresh: bool) -> Path | None:
        """Write down what the run is, once everything was checked; returns where a run before it was set aside.

        fresh: set aside what is there. Else a run that trained goes on, and one that did not begins anew.
        """
        kept = [read_plugin(plugin) for plugin in config.plugins if is_file(plugin)]  # before anything is moved
        aside = self.set_aside() if fresh or half_aside(self.path).exists() else None
        if aside is not None:
            print(f"the run before is set aside in {aside}", file=sys.stderr)
        known = self.record()
        resumed = self.trained
        if not resumed:
            (self.path / METRICS).unlink(missing_ok=True)
        remove_leftovers(self.path)
        plugins = keep_plugins(kept, self.path, self.plugins())
        modules = [plugin for plugin in config.plugins if not is_file(plugin)]
        told = replace(config, plugins=(*modules, *(plugin.given for plugin in plugins)))
        record = {
            "verb": self.verb,
            "pairalign": __version__,
            "begun": known["begun"] if resumed and "begun" in known else _now(),
            "config": to_dict(told),
            "made_from": dict(identity.made_from),
            "plugins": [asdict(plugin) for plugin in plugins],
        }
        write_json(self.path / RECORD, record)
        write_text(self.path / CONFIG, f"# pairalign {self.verb} {self.path / CONFIG}\n" + to_yaml(told))
        return aside

    def finish(self, write: Callable[[], object], *, keep_checkpoint: bool) -> None:
        """Let `write` put the last file in its place, drop the checkpoint, unless it is kept, and note when."""
        write()
        self.settle(keep_checkpoint=keep_checkpoint)

    def settle(self, *, keep_checkpoint: bool) -> None:
        """What follows the last file; a kill in between leaves it to the next command. Nothing where it was done."""
        known, last = self.record(), self.path / CHECKPOINT
        if not known or "finished" in known:
            return
        if last.is_file() and not keep_checkpoint:
            size = last.stat().st_size / 1e6
            remove(last)
            print(
                f"the run is finished: {last} ({size:.1f} MB), which only an interrupted run goes on from, was removed "
                "(train.keep_checkpoint=true keeps it)",
                file=sys.stderr,
            )
        write_json(self.path / RECORD, {**known, "finished": _now()})

    def plugins(self) -> list[KeptPlugin]:
        """The plugin files that the run keeps."""
        try:
            found = [KeptPlugin(**{**one, "files": tuple(one["files"])}) for one in self.record().get("plugins", [])]
            names = [name for one in found for name in (one.kept, *one.files)]
            if outside := next((name for name in names if not _KEPT.fullmatch(name)), None):
                raise ValueError(f"it names {outside!r}, where no run keeps a plugin")
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise CheckpointError(f"{str(self.path / RECORD)!r} is damaged ({error}): choose another run.") from error
        return found

    def named_or_kept(self, named: Sequence[str]) -> tuple[str, ...]:
        """The plugins that a command names, or, where it names no file, those that the run keeps beside them."""
        name_plugins(named)
        if any(map(is_file, named)):
            return tuple(named)
        kept = [str((self.path / one.kept).absolute()) for one in self.plugins()]
        check_named(self.path, kept)
        return (*named, *kept)

    def to_load(self, named: Sequence[str], given: Sequence[str | Path] = ()) -> tuple[str, ...]:
        """The plugins to load for this run: see `plugins_of`."""
        name_plugins(given)
        found = plugins_of(self.path, named, self.plugins(), given)
        check_named(self.path, [plugin for plugin in found if plugin not in map(str, given)])
        return tuple(found)

    def written(self) -> list[Path]:
        """Every file and anchor cache that a run wrote here, relative to the folder."""
        found = [Path(name) for name in NAMES if (self.path / name).exists()]
        found += [Path(name) for plugin in self.plugins() for name in plugin.files if (self.path / name).exists()]
        caches = self.path.glob("cache/*/cache.json")
        found += [cache.parent.relative_to(self.path) for cache in caches if (cache.parent / "features.npy").is_file()]
        found += [path.relative_to(self.path) for path in self.path.glob("evaluation/*.json") if _measures(path)]
        found += [path.relative_to(self.path) for path in self.path.glob("chosen/base-*.safetensors")]
        found += [Path(LOGS)] if (self.path / LOGS / LOGS_MARK).is_file() else []
        return sorted({name for name in found if stays_inside((self.path / name).parent, self.path)})

    def set_aside(self) -> Path | None:
        """Move what a run wrote into a new folder `OUT.old-N` beside this one, and return that; None for nothing.

        What says that something was trained goes first and whose the files are last, for a kill in between.
        """
        turns = {CONFIG: 2, RECORD: 3} | dict.fromkeys((CHECKPOINT, *DONE.values()), 0)
        names = self.written() if self.owner() == self.verb else []
        return move_aside(self.path, sorted(names, key=lambda name: turns.get(str(name), 1)))


def own_folder(run: Path, name: str) -> Path:
    """A folder in a run's, written to by default; raise `StorageError` where it is a link that leads elsewhere, or the
    run lies in the Hub's cache."""
    if is_cached(run):
        raise StorageError(f"{str(run)!r} lies in the Hub's cache, where nothing else is written: give --out (`out`).")
    if not stays_inside(run / name, run):
        raise StorageError(f"{str(run / name)!r} is a link that leaves the run: give --out (`out`) another folder.")
    return run / name


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _measures(path: Path) -> bool:
    """Whether a JSON file is what `pairalign evaluate` writes."""
    try:
        found = read_record(path, dict[str, Any])
        return "run" in found and bool({"pools", "protocol"} & set(found))
    except (OSError, ValueError):
        return False
