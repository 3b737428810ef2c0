"""Every code that the `pairalign` command ends with, and what it means: one table, printed in docs/cli.md.

Note: torchrun ends with 1 whatever its processes ended with, and a shell gives 128 + n for a signal n that ended a
command, which is why a run that a signal stopped ends so, too.
"""

from __future__ import annotations

import signal

DONE = 0
FOUND = 1
WRONG = 2
OTHER_RUN = 3
NOTHING_LEARNED = 4
LOST = 70  # EX_SOFTWARE
BY_SIGNAL = 128

EXITS = {
    DONE: "done",
    FOUND: "something was found (`data audit`, a broken promise of `encoders check`); or an error that is none of "
    "pairalign's own, with its traceback",
    WRONG: "a deliberate error, in one line: bad arguments, settings, data or files, or output that cannot be written",
    OTHER_RUN: "the run folder holds a run of other settings, data, code or weights",
    NOTHING_LEARNED: "nothing within `max_forgetting` was learned; the weights of the start are kept",
    LOST: "another process of the run died",
    BY_SIGNAL + signal.SIGINT: "stopped by Ctrl-C (SIGINT); a run in training leaves a checkpoint first",
    BY_SIGNAL + signal.SIGTERM: "stopped by SIGTERM, likewise",
    **({BY_SIGNAL + signal.SIGUSR1: "stopped by SIGUSR1, likewise"} if hasattr(signal, "SIGUSR1") else {}),
    **({BY_SIGNAL + signal.SIGPIPE: "nobody reads what it prints (SIGPIPE)"} if hasattr(signal, "SIGPIPE") else {}),
}
