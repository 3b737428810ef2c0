"""Starts the processes of a run, or joins those that a launcher started, and makes each one's `Runtime`.

Who started them is asked of Lightning's cluster environments: torchrun, SLURM, MPI and LSF. Without one of these,
`train.devices=N` starts the same command again N − 1 times, as Lightning's own launcher does; a notebook, which cannot
be started again, forks (`pairalign.processes.fork`).

Note:
    A launcher that nobody here knows is refused, because its processes would each train alone, on the same samples,
    into the same folder. A script that calls runs one after the other keeps the processes of the first. While a run
    goes on, a process that fails or dies ends all of them, with one message (`pairalign.processes.heartbeat`).
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from pairalign.core.errors import ConfigError
from pairalign.processes.fork import fork
from pairalign.processes.heartbeat import LOST, Heartbeat
from pairalign.processes.meeting import meeting
from pairalign.processes.stopping import Stopping, signal_of
from pairalign.runtime import Runtime, find_device

T = TypeVar("T")

JOIN = timedelta(minutes=5)  # until all processes are there
LONG = timedelta(days=7)  # of waiting in the group: the main process may score or fill a cache for hours


class Asked(Protocol):
    """What `train` of either stage says about processes."""

    @property
    def accelerator(self) -> str: ...

    @property
    def devices(self) -> Any: ...

    @property
    def nodes(self) -> int: ...


class Slurm(SLURMEnvironment):
    """Lightning's, with number of processes and nodes taken from SLURM alone, and signals left to `stopping`."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def _validate_srun_variables() -> None:
        """Accept `srun --ntasks=2` without --ntasks-per-node: nothing here needs the latter."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Nothing to compare: the settings come from here."""


_running: Runtime | None = None
_children: dict[int, subprocess.Popen[bytes]] = {}  # by rank
_met = threading.Event()  # set once all processes have met, and for good: the group may be gone again soon
_runs = itertools.count()


def current() -> Runtime:
    """The runtime of the run that goes on, or was the last, in this process; that of one process before any."""
    return _running or Runtime()


def join(train: Asked) -> Runtime:
    """This process's `Runtime`; starts the others where `train.devices` asks for more and no launcher did.

    Raises `ConfigError` for a launcher that is not known, a device that is not there, and processes that do not come.
    """
    global _running
    if _running is None or (_running.world == 1 and not dist.is_initialized()):
        environment, name = find_environment()
        device = find_device(train.accelerator, "train.accelerator", environment.local_rank())
        if isinstance(environment, LightningEnvironment):
            _running = _join_own(environment, device, train)
        else:
            _running = _connect(environment, device, environment.global_rank(), environment.world_size(), name)
    return _running


def find_environment() -> tuple[ClusterEnvironment, str]:
    """Lightning's environment of this process and its launcher's name; refuse a launcher that neither knows."""
    known: tuple[tuple[type[ClusterEnvironment], str], ...] = (
        (TorchElasticEnvironment, "torchrun"),
        (Slurm, "SLURM"),
        (LSFEnvironment, "LSF"),
        (MPIEnvironment, "MPI"),
    )
    for kind, name in known:
        if kind.detect():
            return _read(kind, name), name
    _refuse_unknown()
    return LightningEnvironment(), "train.devices"


def _read(kind: type[ClusterEnvironment], name: str) -> ClusterEnvironment:
    try:
        return kind()
    except (KeyError, IndexError, OSError, ValueError) as error:  # LSF's file of hosts, where it does not fit
        raise ConfigError(
            f"{name} started this process, and what it says of the others cannot be read ({error!r}): start with "
            "torchrun."
        ) from error


def _refuse_unknown() -> None:
    started = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    if started and "LOCAL_RANK" not in os.environ:
        found = ", ".join(f"{name}={value}" for name, value in started.items())
        raise ConfigError(
            f"{found}: set by a launcher that pairalign does not know, so its processes would all train alone. Start "
            "with torchrun, srun, mpirun or train.devices=N, or unset them."
        )
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"):
        if int(os.environ.get(name) or 1) > 1:
            raise ConfigError(
                f"{name}={os.environ[name]}: mpirun started these processes, and joining them needs the package "
                "mpi4py: install it, or start with torchrun."
            )
    for name, launcher in (("JSM_NAMESPACE_SIZE", "jsrun"), ("FLUX_JOB_SIZE", "flux run")):
        if int(os.environ.get(name) or 1) > 1:
            raise ConfigError(
                f"{name}={os.environ[name]}: {launcher} started these processes, and without LSF's own variables "
                "(LSB_JOBID, LSB_DJOB_RANKFILE) they cannot be joined: start with torchrun."
            )


def _join_own(environment: LightningEnvironment, device: torch.device, train: Asked) -> Runtime:
    local, name = _count_devices(train, device), "train.devices"
    world = local * train.nodes
    if world == 1:
        return Runtime(device, environment=environment)
    if not environment.creates_processes_externally:
        _start_others(environment, local, world)
    told = int(os.environ.get("WORLD_SIZE", world))
    rank = environment.node_rank() * local + environment.local_rank()
    if told != world or int(os.environ.get("RANK", rank)) != rank:
        raise ConfigError(
            f"train.devices={local} on train.nodes={train.nodes} makes {world} processes, and this one number {rank}; "
            f"WORLD_SIZE={told} and RANK={os.environ.get('RANK', 'unset')} say otherwise: start with torchrun, or make "
            "them agree."
        )
    environment.set_world_size(world)
    environment.set_global_rank(rank)
    return _connect(environment, device, rank, world, name)


def _count_devices(train: Asked, device: torch.device) -> int:
    if train.devices != "auto":
        return int(train.devices)
    return 1 if device.type == "cpu" else torch.accelerator.device_count()


def _start_others(environment: LightningEnvironment, local: int, world: int) -> None:
    """Start this command again for every other process of this node, as Lightning's own launcher does."""
    os.environ.update(own_environment(environment, world))
    for number in range(1, local):
        command = [sys.executable, *sys.orig_argv[1:]]
        child = subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(number)}, stdin=subprocess.DEVNULL)
        _children[environment.node_rank() * local + number] = child
    atexit.register(_reap)
    threading.Thread(target=_mind_children, name="pairalign-children", daemon=True).start()


def own_environment(environment: LightningEnvironment, world: int) -> dict[str, str]:
    """What Lightning's own launcher tells the first process of a node."""
    return {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(world),
    }


def _mind_children() -> None:
    """Until all have met: end where one of them ended, instead of waiting for it."""
    while not _met.wait(0.2):
        for rank, child in _children.items():
            code = child.poll()
            if code is None:
                continue
            number = signal_of(code)  # to a whole group this process has it, too, and may hear nothing yet
            why = (
                f"process {rank} ended with code {code} before it joined the others. It ran "
                f"{' '.join(sys.orig_argv)!r}: where that cannot be run again, start with torchrun."
                if number is None
                else f"stopped by {signal.Signals(number).name}; nothing was begun: the same command starts over"
            )
            print(f"pairalign: {why}", file=sys.stderr, flush=True)
            _reap(at_once=True)
            os._exit(LOST if number is None else 128 + number)


def _reap(*, at_once: bool = False) -> None:
    for child in _children.values():
        try:
            child.wait(0 if at_once else 60)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()


def _connect(environment: ClusterEnvironment, device: torch.device, rank: int, world: int, name: str) -> Runtime:
    """Meet the other processes, and know where each is."""
    local_rank = environment.local_rank()
    if world == 1:
        return Runtime(device, launcher=name, environment=environment)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    with meeting(rank, world, name):
        store, _, _ = next(iter(dist.rendezvous("env://", rank, world, timeout=JOIN)))
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
        group = dist.new_group(backend="gloo", timeout=LONG)
        _met.set()
        atexit.register(_leave)
        here = Runtime(device, rank, local_rank, world, 1, name, environment, group)
        places = here.all_gather_object((environment.node_rank(), socket.gethostname()))
    nodes = len(set(places))
    if world % nodes or any(places.count(place) != world // nodes for place in places):
        raise ConfigError(f"{world} processes on {nodes} nodes ({name}): give every node as many.")
    return Runtime(device, rank, local_rank, world, nodes, name, environment, group)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def launch(
    train: Asked, work: Callable[[Runtime], T], *, checkpoint: Path | None = None, reload: Callable[[], T] | None = None
) -> T:
    """`work` with this process's `Runtime`, in every process of the run.

    checkpoint: what a stopped run goes on from. reload: how a notebook gets the result that its forks left on disk.
    """
    local = 0 if reload is None or not _cannot_start_again() else _wanted(train)
    if local > 1 and reload is not None:
        environment = LightningEnvironment()
        told = own_environment(environment, local * train.nodes)
        fork(lambda: launch(train, work, checkpoint=checkpoint), local, told)
        return reload()
    with Stopping(checkpoint) as stopping:
        runtime = replace(join(train), stopping=stopping)
        return work(runtime) if runtime.world == 1 else _together(runtime, work)


def _cannot_start_again() -> bool:
    return hasattr(sys, "ps1") or sys.orig_argv[1:2] in ([], ["-"])


def _wanted(train: Asked) -> int:
    """Processes that this one would have to start on this node."""
    environment, _ = find_environment()
    if _running or environment.creates_processes_externally:
        return 0
    return _count_devices(train, find_device(train.accelerator, "train.accelerator"))


def _together(runtime: Runtime, work: Callable[[Runtime], T]) -> T:
    with meeting(runtime.rank, runtime.world, runtime.launcher):
        heart = _heartbeat(runtime)
    runtime.stopping.claim, runtime.stopping.leave = heart.claim, heart.leave
    try:
        result = work(runtime)
        heart.leaving()
        runtime.barrier()
    except BaseException as error:
        heart.torn = _is_torn(error)
        code = heart.failed() or _exit_code(error)
        mine = heart.claim(code)
        heart.finish(failed=True)
        atexit.unregister(_leave)  # some backends wait there for who is gone
        if mine:
            raise
        raise SystemExit(code) from None
    heart.finish()
    return result


def _heartbeat(runtime: Runtime) -> Heartbeat:
    names = runtime.all_gather_object(f"{socket.gethostname()}, process id {os.getpid()}")
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    own = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=20), wait_for_workers=False)
    heart = Heartbeat(dist.PrefixStore(f"run/{next(_runs)}", own), (host, port), runtime.rank, names, _children)
    heart.start()
    return heart


def _is_torn(error: BaseException) -> bool:
    """Whether a collective failed because another process is gone."""
    signs = ("onnection", "peer", "ocket", "NCCL", "gloo", "Broken pipe", "imed out")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return int(getattr(error, "exit_code", 1))
