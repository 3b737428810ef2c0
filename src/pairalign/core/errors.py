"""Every error that pairalign raises on purpose, and the "did you mean" that goes into them.

The command line prints these as one line and exits with `exit_code`; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pairalign.core.exits import LOST, OTHER_RUN, WRONG

_LONGEST = 200  # characters of a name that is compared with others


class PairalignError(Exception):
    """Base of all deliberate errors. The message names the argument, the value it got and the fix."""

    exit_code = WRONG


class ConfigError(PairalignError, ValueError):
    """A configuration that cannot be run: unknown key, wrong type, impossible value."""


class RegistryError(PairalignError):
    """An encoder that is unknown, registered twice, or whose plugin cannot be imported."""


class SignalError(PairalignError):
    """A value whose shape, dtype, unit, rate or range differs from the declared `Signal`."""


class GraphError(PairalignError):
    """A pair graph that names an unknown modality or is not connected."""


class DataError(PairalignError):
    """Pair data that is missing, damaged, empty or too small."""


class ContrastiveError(PairalignError):
    """A batch that a contrastive loss cannot work on."""


class CacheError(PairalignError):
    """An anchor cache that is stale, incomplete or damaged."""


class CheckpointError(PairalignError):
    """A checkpoint that belongs to another configuration or is damaged."""


class IdentityError(CheckpointError):
    """A run folder whose run was made with other settings, data, code or weights than those asked for now."""

    exit_code = OTHER_RUN


class LostError(PairalignError):
    """Another process of the run is gone before it began: nothing of what was asked for is wrong."""

    exit_code = LOST


class StorageError(PairalignError):
    """A file or folder that cannot be written: a full disk, a quota, missing permission, or another run's work."""


class DormantError(PairalignError):
    """Dormant weights that cannot be chosen, installed or trained as asked."""


class DeltaError(PairalignError):
    """A delta that is damaged, or was made for another base."""


class PackError(PairalignError):
    """A sensor pack that is damaged, of an unknown version, or made for another base."""


class HubError(PairalignError):
    """A pack or a run that is neither here nor to be had from the Hub, or could not be pushed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or the list of known names.

    What is longer than a name is near to none: comparing it costs the square of its length, half a minute of 60,000.
    """
    known = sorted(known)
    names = [one for one in known if len(one) <= _LONGEST] if len(name) <= _LONGEST else []
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(known) or 'none'}."
