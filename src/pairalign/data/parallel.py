"""Shards written by several processes, in order and with a bounded number in memory.

Note:
    Workers ignore Ctrl-C, from their very start, so that a shard in progress is finished and kept; the packing process
    stops handing out work and waits for them. They end when it is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from pairalign.core.errors import DataError
from pairalign.data.write import ShardTask, finished_record, write_shard

Waiting = deque[tuple[str, ShardTask, "Future[dict[str, Any]] | dict[str, Any]"]]


def write_in_processes(
    tasks: Iterator[tuple[str, ShardTask]], workers: int, bar: Any
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(split, shard name, record) of every shard, in the order of `tasks`; at most 2 × workers wait in
    memory.
    """
    waiting: Waiting = deque()
    context = multiprocessing.get_context("spawn")  # fork is unsafe beside torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start) as pool:
        try:
            for split, task in tasks:
                plan = task.plan()
                done = finished_record(task, plan)
                with _deaf():  # a submission may start a worker
                    waiting.append((split, task, done or pool.submit(write_shard, task, plan)))
                if len(waiting) >= 2 * workers:
                    yield _next(waiting, bar)
            while waiting:
                yield _next(waiting, bar)
        except BrokenProcessPool as error:
            raise DataError(
                f"a packing process died (workers={workers}): if memory ran out, use fewer workers or "
                "smaller shards; in a script, pack under `if __name__ == '__main__':`. "
                "Finished shards are kept."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _next(waiting: Waiting, bar: Any) -> tuple[str, str, dict[str, Any]]:
    split, task, result = waiting.popleft()
    record = result.result() if isinstance(result, Future) else result
    bar.update(len(task.rows))
    return split, task.name, record


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start in the block do not hear Ctrl-C while they import; this one hears it when the block ends."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it lets the signal through again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    """A pool's processes would wait for ever for tasks of one that was killed, each with its memory."""
    main = multiprocessing.parent_process()
    if main is not None:
        main.join()
        os._exit(1)
