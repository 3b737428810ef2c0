"""What a command says of its doing, on stderr: on which device, in which way.

Note: `--quiet` silences these and progress bars. What was moved, removed, lost or left out (a run that is set aside, a
damaged sample, a split that is not there: `note: …`), Python's warnings and errors are no notices: always said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_quiet = [False]
_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"  # read by huggingface_hub and transformers as they are imported


def notice(text: str) -> None:
    """Say it on stderr, unless notices are silenced."""
    if not _quiet[-1]:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Say no notices in the block; bars of the libraries that load weights are not drawn there either."""
    if not quiet:
        yield
        return
    before = os.environ.get(_BARS)
    os.environ[_BARS] = "1"
    _quiet.append(True)
    logging = sys.modules.get("transformers.utils.logging")
    drawn = logging is not None and logging.is_progress_bar_enabled()
    if logging is not None and drawn:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        _quiet.pop()
        os.environ.pop(_BARS) if before is None else os.environ.update({_BARS: before})
        if logging is not None and drawn:
            logging.enable_progress_bar()
