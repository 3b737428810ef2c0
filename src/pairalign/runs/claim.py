"""How a run of either stage takes its folder: nobody else works in it, and what is there is this run's, or nobody's.

Note:
    The folder is held until the block ends. Nothing is written before `begin`, so that a run that was refused, or
    failed in a check, leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pairalign.runs.folder import RunFolder
from pairalign.runs.identity import Identity
from pairalign.runs.versions import write_versions
from pairalign.runtime import Runtime

C = TypeVar("C", bound=Any)


@dataclass(frozen=True)
class Claim(Generic[C]):
    """A folder that a run has taken.

    config: with the plugins that the run keeps, where the command named none. finished: when the run had finished, if
    there is nothing left to train.
    """

    folder: RunFolder
    config: C
    identity: Identity
    runtime: Runtime
    fresh: bool
    finished: str | None

    def begin(self) -> None:
        """Write down what the run is, once everything was checked."""
        self.runtime.main_only(self._begin)

    def _begin(self) -> None:
        self.folder.begin(self.config, self.identity, fresh=self.fresh)
        write_versions(self.folder.path, self.config)


@contextmanager
def claim(
    verb: str, config: C, identify: Callable[[C], Identity], runtime: Runtime, *, fresh: bool
) -> Iterator[Claim[C]]:
    """Take `config.out` for a run of `verb`, see `RunFolder`; all processes of the run enter and leave together.

    identify: what a run of such a configuration is made from; loads its plugins. fresh: set aside what is there.
    Raises `StorageError` where another run is at work there or the files are somebody else's, `IdentityError` where
    what was trained there was made from something else.
    """
    folder = RunFolder(Path(config.out), verb, type(config))
    with folder.held() if runtime.main else nullcontext():
        config = replace(config, plugins=folder.named_or_kept(config.plugins))
        identity = identify(config)
        done = runtime.main_only(lambda: _is_done(folder, identity, config, fresh))
        yield Claim(folder, config, identity, runtime, fresh, folder.date if done else None)


def _is_done(folder: RunFolder, identity: Identity, config: Any, fresh: bool) -> bool:
    done = folder.is_done(identity, fresh=fresh)
    if done:
        folder.settle(keep_checkpoint=config.train.keep_checkpoint)
    return done
