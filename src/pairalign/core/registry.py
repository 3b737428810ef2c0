"""Which encoders exist, and who owns each name.

Three doors, one room: the decorator `@register_encoder("glove")`, the entry-point group `pairalign.encoders` of an
installed package, and a plugin file or module that the user names. Nothing is scanned and nothing is imported that was
not named: listing reads metadata only.

Note:
    A name belongs to one owner; a second owner is an error that names both, because silently picking one of two
    encoders would train the wrong network.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pairalign.core.author import open_folder, remember_package, told
from pairalign.core.errors import PairalignError, RegistryError, did_you_mean
from pairalign.core.plugins import PluginFile, beside, is_file, read_plugin, source_hash

if TYPE_CHECKING:
    from pairalign.core.encoder import Encoder

GROUP = "pairalign.encoders"
PLUGIN_MODULE = "pairalign_plugin_"
T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Entry:
    """One registered name: `owner` says who, `load()` gives the class."""

    name: str
    owner: str
    load: Callable[[], type[Encoder]]


_registered: dict[str, type] = {}
_plugins: dict[str, dict[str, type]] = {}  # what each plugin file registered, by the hash of its bytes


def register_encoder(name: str) -> Callable[[T], T]:
    """Register an `Encoder` subclass under a name, for configs and the command line.

    Args:
        name: a lower-case Python identifier, such as "glove"; one owner each.

    Returns:
        A decorator, which gives the class back.

    Raises:
        RegistryError: for another kind of name, and where it belongs to another class.
    """
    if not name.isidentifier() or name != name.lower():
        raise RegistryError(f"register_encoder({name!r}): use a lower-case Python identifier, such as 'glove'.")

    def decorate(cls: T) -> T:
        other = _registered.get(name)
        if other is not None and _identity(other) != _identity(cls):
            raise _clash(name, _owner(other), _owner(cls))
        for point in _points(name):
            if not _same(point, cls):
                raise _clash(name, _point_owner(point), _owner(cls))
        _registered[name] = cls
        return cls

    return decorate


def encoder_entries() -> dict[str, Entry]:
    """Every registered name, sorted, without importing the packages behind entry points."""
    names = set(_registered) | {point.name for point in entry_points(group=GROUP)}
    return {name: find_encoder(name) for name in sorted(names)}


def registered_here() -> dict[str, str]:
    """Owner by name of what decorators have registered in this process, entry points left aside."""
    return {name: _owner(cls) for name, cls in sorted(_registered.items())}


def find_encoder(name: str) -> Entry:
    """Return the one owner of `name`; raise `RegistryError` if there is none, or more than one."""
    points = list(_points(name))
    if len(points) > 1:
        raise _clash(name, _point_owner(points[0]), _point_owner(points[1]))
    if points:  # first, so that the owner reads the same before and after somebody imported the package
        return Entry(name, _point_owner(points[0]), lambda: _load_point(points[0]))
    if name in _registered:
        cls = _registered[name]
        return Entry(name, _owner(cls), lambda: cls)
    known = set(_registered) | {point.name for point in entry_points(group=GROUP)}
    raise RegistryError(
        f"encoder {name!r} is not registered.{did_you_mean(name, known)}"
        " Pass your own file with --plugin, or see `pairalign encoders ls`."
    )


def create_encoder(name: str, **options: Any) -> Encoder:
    """Build a registered encoder.

    Args:
        name: as `pairalign encoders ls` has it.
        **options: keyword arguments of the class.

    Returns:
        The encoder, with its own or random weights.

    Raises:
        RegistryError: for an unknown name, and for a wrong option, with the right ones.

    Example:
        >>> import pairalign as pa
        >>> pa.create_encoder("touch_cnn", size=32, width=16).signal.unit
        '1'
    """
    cls = _encoder_class(find_encoder(name))
    accepted = inspect.signature(cls.__init__).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    for option in options:
        if option not in accepted and not free:
            raise RegistryError(
                f"encoder {name!r} has no option {option!r}.{did_you_mean(option, set(accepted) - {'self'})}"
            )
    try:
        return cls(**options)
    except PairalignError:
        raise
    except Exception as error:  # of wrong options, or of its author
        raise RegistryError(f"encoder {name!r} with options {options}: {told(error)}") from error


def _encoder_class(entry: Entry) -> type[Encoder]:
    from pairalign.core.encoder import Encoder

    cls = entry.load()
    if not (isinstance(cls, type) and issubclass(cls, Encoder)):
        raise RegistryError(f"encoder {entry.name!r} of {entry.owner} is no class derived from pairalign.Encoder.")
    return cls


def encoder_hash(name: str) -> str | None:
    """SHA-256 of the source of the class registered as `name`, and of those that it derives from; None for one of a
    plugin file, which is hashed whole.
    """
    from pairalign.core.encoder import Encoder

    cls = _encoder_class(find_encoder(name))
    return None if cls.__module__.startswith(PLUGIN_MODULE) else source_hash(cls, Encoder)


def code_hash(name: str) -> str:
    """SHA-256 of what `name` runs, wherever it comes from: of its plugin file, or as `encoder_hash` has it."""
    cls = _encoder_class(find_encoder(name))
    for sha256, known in _plugins.items():
        if known.get(name) is cls:
            return sha256
    from pairalign.core.encoder import Encoder

    return source_hash(cls, Encoder)


def load_plugin(plugin: str | Path) -> None:
    """Import one named plugin, whose decorators register its encoders.

    A file may import what lies beside it. One whose very bytes were loaded before, under another name, is not again.

    Args:
        plugin: a `.py` file, or an importable module.

    Raises:
        RegistryError: where it cannot be imported.
    """
    if is_file(plugin):
        found = read_plugin(plugin)
        known = _plugins.get(found.sha256)
        if known is not None and all(_registered.get(name) is cls for name, cls in known.items()):
            return
        before = dict(_registered)
        open_folder(found.path)
        _import(str(plugin), lambda: _run_file(found))
        _plugins[found.sha256] = {name: cls for name, cls in _registered.items() if before.get(name) is not cls}
    elif not all(part.isidentifier() for part in str(plugin).split(".")):
        raise RegistryError(f"plugin {str(plugin)!r} is neither file nor module: give the path of a Python file.")
    else:
        remember_package(str(plugin))
        _import(str(plugin), lambda: importlib.import_module(str(plugin)))


def _run_file(plugin: PluginFile) -> None:
    path = plugin.path
    name = f"{PLUGIN_MODULE}{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"  # two files, two owners
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise RegistryError(f"plugin {str(path)!r} cannot be read as Python: give a .py file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with beside(plugin):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _import(what: str, run: Callable[[], Any]) -> None:
    before = dict(_registered)
    try:
        run()
    except RegistryError:
        _restore(before)
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        _restore(before)
        raise RegistryError(f"plugin {what!r} raises on import: {told(error)}") from error


def _restore(before: dict[str, type]) -> None:
    _registered.clear()
    _registered.update(before)


def _points(name: str) -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for point in entry_points(group=GROUP, name=name):
        if point.value not in seen:  # one package seen twice on the path is still one owner
            seen.add(point.value)
            yield point


def _load_point(point: EntryPoint) -> type[Encoder]:
    loaded: list[type[Encoder]] = []
    if point.dist is None or point.dist.name != "pairalign":
        remember_package(point.module)
    _import(_point_owner(point), lambda: loaded.append(point.load()))
    return loaded[0]


def _point_owner(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "unknown package"
    return f"{point.value} (package {package})"


def _same(point: EntryPoint, cls: type) -> bool:
    package = point.module.partition(".")[0]
    return cls.__module__.partition(".")[0] == package and point.attr == cls.__qualname__


def _identity(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _owner(cls: type) -> str:
    try:
        where = inspect.getfile(cls)
    except (TypeError, OSError):
        where = "interactive session"
    return f"{cls.__module__}.{cls.__qualname__} ({where})"


def _clash(name: str, first: str, second: str) -> RegistryError:
    return RegistryError(f"encoder name {name!r} is claimed twice: by {first} and by {second}. Rename one of them.")
