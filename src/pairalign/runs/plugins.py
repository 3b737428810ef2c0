"""Plugin files that a run keeps beside it, so that it can be moved, evaluated and shipped without the original.

Note:
    A run may come from a stranger, so a plugin that it brings is loaded only where the user has named its very bytes on
    this machine: to train with, or by `--plugin`. A run is what it was trained with. Where the original is still there
    and says something else now, the run is refused until the user names the file to take; what he names is taken, and
    said on stderr where it differs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairalign.core.errors import IdentityError, RegistryError
from pairalign.core.plugins import PluginFile, is_file, read_plugin
from pairalign.core.registry import load_plugin
from pairalign.core.trust import is_trusted, trust
from pairalign.files import is_partial, write_bytes
from pairalign.runs.identity import GONE, hashes


@dataclass(frozen=True)
class KeptPlugin:
    """given: path as it was named, absolute. kept: path in the run folder. sha256: of it and its neighbours. files:
    all of them, relative to the run folder.
    """

    given: str
    kept: str
    sha256: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name, by which a user's `--plugin` replaces it."""
        return Path(self.given).name


def keep_plugins(plugins: Sequence[PluginFile], run: Path, known: Sequence[KeptPlugin]) -> list[KeptPlugin]:
    """Write plugins into a run folder, each into a folder of its own; what the run keeps already stays."""
    found: list[KeptPlugin] = []
    for plugin in plugins:
        same = next((one for one in known if one.sha256 == plugin.sha256 and one.name == plugin.path.name), None)
        found.append(same or _keep(plugin, run, [one.kept for one in found]))
    return found


def _keep(plugin: PluginFile, run: Path, taken: Sequence[str]) -> KeptPlugin:
    number, home = 1, f"plugins/{plugin.path.stem}"
    while not _is_free(run / home, plugin) or f"{home}/{plugin.path.name}" in taken:
        number, home = number + 1, f"plugins/{plugin.path.stem}-{number + 1}"
    files = {f"{home}/{name}": data for name, data in plugin.files.items()}
    for name, data in files.items():
        write_bytes(run / name, data)
    return KeptPlugin(str(plugin.path), f"{home}/{plugin.path.name}", plugin.sha256, tuple(files))


def _is_free(home: Path, plugin: PluginFile) -> bool:
    """Whether nothing is there, but for what a run that was killed before it took note of it wrote of the same."""
    there = [path for path in home.rglob("*") if path.is_file() and not is_partial(path)]
    return all(plugin.files.get(path.relative_to(home).as_posix()) == path.read_bytes() for path in there)


def plugins_of(
    run: Path, named: Sequence[str], kept: Sequence[KeptPlugin], given: Sequence[str | Path] = ()
) -> list[str]:
    """The plugins to load for a run: those `given` now, then what the run keeps, then modules that it `named`.

    Raises:
        IdentityError: an original was edited after training, and none of its name is given.
        RegistryError: a plugin that is given is no file, or one that an earlier version only named is gone.
    """
    files = {Path(plugin).name: read_plugin(plugin) for plugin in given if is_file(plugin)}
    found = [str(plugin) for plugin in given]
    for one in kept:
        mine = files.get(one.name)
        if mine is None:
            found.append(_unedited(run, one))
        elif mine.sha256 != one.sha256:
            print(f"plugin {str(mine.path)!r} is not what run {str(run)!r} was trained with.", file=sys.stderr)
    if kept:
        named = [plugin for plugin in named if not is_file(plugin)]
    return found + [plugin for plugin in named if plugin not in found]


def _unedited(run: Path, one: KeptPlugin) -> str:
    kept, original = run / one.kept, Path(one.given)
    if not kept.is_file() or read_plugin(kept).sha256 != one.sha256:
        raise IdentityError(f"plugin {str(kept)!r} is not what the run was trained with: copy the run again.")
    if original != kept.absolute() and original.is_file() and read_plugin(original).sha256 != one.sha256:
        raise IdentityError(
            f"plugin {one.given!r} was edited after run {str(run)!r} was trained: pass --plugin {one.given} to use it "
            f"as it is now, or --plugin {kept} for what was trained."
        )
    return str(kept.absolute())


def name_plugins(plugins: Sequence[str | Path]) -> None:
    """Remember plugins that the user named, as far as they are there."""
    for plugin in plugins:
        with suppress(RegistryError):
            trust(*_told(plugin))


def check_named(run: Path, plugins: Sequence[str]) -> None:
    """Raise `RegistryError` for a plugin that a run brings and nobody has named on this machine: it would run code."""
    for plugin in plugins:
        if (not is_file(plugin) or Path(plugin).is_file()) and not is_trusted(*_told(plugin)):
            raise RegistryError(
                f"run {str(run)!r} brings the plugin {plugin!r}, which nobody has named on this machine, and a plugin "
                f"runs code: read it, and where you trust it pass --plugin {plugin}."
            )


def _told(plugin: str | Path) -> tuple[str, str]:
    """What is remembered of a plugin: its bytes and its neighbours', or the name of a module."""
    return ("plugin", read_plugin(plugin).sha256) if is_file(plugin) else ("module", str(plugin))


def load_plugins(plugins: Sequence[str]) -> dict[str, str | None]:
    """Load what is there, and the hash of each for an identity: None for a module, whose encoders are hashed one by
    one, and `GONE` for a file that is not there.
    """
    found = hashes((f"plugin {Path(plugin).name}", partial(_hash, plugin)) for plugin in plugins)
    for plugin in plugins:
        if found[f"plugin {Path(plugin).name}"] != GONE:
            load_plugin(plugin)
    return found


def _hash(plugin: str) -> str | None:
    return read_plugin(plugin).sha256 if is_file(plugin) else None
