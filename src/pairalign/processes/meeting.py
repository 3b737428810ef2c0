"""What is said where the processes of a run do not meet: settings, or that one of them died meanwhile.

Note:
    Torch tells the two apart by the words of its errors alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pairalign.core.errors import ConfigError, LostError

DIED = ("likely closed", "closed by peer", "reset by peer", "Broken pipe")


@contextmanager
def meeting(rank: int, world: int, name: str) -> Iterator[None]:
    """Say what hinders the processes from meeting: settings, or that one of them died meanwhile."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        told, where = str(error).splitlines()[0], f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        if any(sign in told for sign in DIED):
            raise LostError(
                f"process {rank} of {world} ({name}) lost another one before the run began ({told}): the same command "
                "starts over."
            ) from error
        raise ConfigError(
            f"process {rank} of {world} ({name}) could not meet the others at {where} ({told}): start all of them, "
            "under SLURM with srun."
        ) from error
