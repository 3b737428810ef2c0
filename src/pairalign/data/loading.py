"""Loader workers: processes that make ready batches of a dataset, in the order in which one process makes them.

Note:
    A spawned worker knows nothing of the plugins that the encoders come from, and cannot even read the dataset before
    it has imported them; so plugins travel first. A deliberate error in a worker is raised in the main process
    as it would be there, once and without the worker's traceback.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pairalign.core.errors import PairalignError
from pairalign.core.registry import load_plugin
from pairalign.processes.stopping import leave_signals_to_the_main_process

B = TypeVar("B")


class BatchLoader(DataLoader[B]):
    """Batches come ready-made from `dataset`; `workers` processes only make them at the same time.

    plugins: what the dataset's encoders were loaded from.
    """

    def __init__(self, dataset: IterableDataset[B], workers: int, plugins: Sequence[str] = ()) -> None:
        carried = _Carried(dataset, tuple(plugins)) if workers else dataset
        options: dict[str, Any] = {"persistent_workers": True, "worker_init_fn": _start} if workers else {}
        super().__init__(carried, batch_size=None, num_workers=workers, **options)

    def __iter__(self) -> Iterator[B]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch


class _Failure:
    """A deliberate error on its way to the main process."""

    def __init__(self, error: PairalignError) -> None:
        self.error = error.with_traceback(None)


class _Carried(IterableDataset[Any]):
    """A dataset that can go to another process."""

    def __init__(self, dataset: IterableDataset[Any], plugins: tuple[str, ...]) -> None:
        self.dataset, self.plugins = dataset, plugins

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.dataset
        except PairalignError as error:
            if get_worker_info() is None:
                raise
            yield _Failure(error)

    def __reduce__(self) -> tuple[Any, ...]:
        held = io.BytesIO()
        _ToCPU(held).dump(self.dataset)
        return _arrive, (self.plugins, held.getvalue())


class _ToCPU(pickle.Pickler):
    """Copies tensors to the CPU, where workers compute: each would else start the accelerator."""

    def reducer_override(self, value: Any) -> Any:
        """See `pickle.Pickler`."""
        if isinstance(value, torch.Tensor) and value.device.type != "cpu":
            return value.cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


def _arrive(plugins: tuple[str, ...], held: bytes) -> _Carried:
    for plugin in plugins:
        load_plugin(plugin)
    return _Carried(pickle.loads(held), plugins)


def _start(worker: int) -> None:
    leave_signals_to_the_main_process()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizers warn of forks otherwise
