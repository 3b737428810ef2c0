"""One process of test_launch.py: does what its argument says under `launch`, with `train.devices=2`."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

import torch

from pairalign.core.errors import ConfigError, PairalignError
from pairalign.processes import stopping
from pairalign.processes.launch import launch
from pairalign.runtime import Runtime

stopping.PATIENCE = 3.0  # so that a test need not wait for as long as users do


def work(what: str, runtime: Runtime) -> None:
    os.write(1, f"ready {runtime.rank} {os.getpid()}\n".encode())
    if what == "sleep":  # Python's own waiting, on one process; the others hang in a collective
        time.sleep(120 if runtime.rank else 0)
        runtime.barrier()
    elif what == "collective":
        torch.distributed.all_reduce(torch.ones(1)) if runtime.main else time.sleep(120)
    elif what == "one fails":
        if runtime.main:
            raise ConfigError("train.lr=-1: give at least 0.")
        runtime.barrier()
    elif what == "all fail":
        raise ConfigError("train.lr=-1: give at least 0.")
    elif what == "sums":
        mine = float(runtime.rank + 1)
        found = (runtime.all_sum([mine, 2.0]), runtime.all_max([mine]), runtime.all_gather_object(mine))
        told = runtime.main_only(lambda: f"from {runtime.rank}")
        os.write(1, f"{found[0]} {found[1]} {found[2]}\n{told}\n".encode())  # whole: both write at once


if __name__ == "__main__":
    if os.environ.get("LOCAL_RANK") == "1" and "STOPPED_AT_START" in os.environ:
        os.kill(os.getpid(), int(os.environ["STOPPED_AT_START"]))
    train = SimpleNamespace(accelerator="cpu", devices=2, nodes=1)
    try:
        launch(train, lambda runtime: work(sys.argv[1], runtime))
    except PairalignError as error:
        print(f"pairalign: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except stopping.Stopped as error:
        print(f"pairalign: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
