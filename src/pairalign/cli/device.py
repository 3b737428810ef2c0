"""What `--device` means, and the options that say how a base is loaded, said once.

Note:
    The device is found, and printed on stderr, before anything long; what a configuration says of it counts where the
    command line is silent.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pairalign.core.notice import notice

if TYPE_CHECKING:
    import torch


def add_base_arguments(parser: argparse.ArgumentParser) -> None:
    """How a verb loads the language model."""
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of the base on the hub")
    parser.add_argument("--attn-implementation", metavar="NAME", help="attention of the base: sdpa, eager, …")
    parser.add_argument("--load-in", metavar="FORM", help="quantise the base's linear layers: int8 or nf4")
    add_trust_argument(parser)


def add_pull_back_argument(parser: argparse.ArgumentParser) -> None:
    """How far from the base packs are installed."""
    parser.add_argument(
        "--pull-back",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="install packs at this share of the way from the base's weights to theirs, 0 to 1 (1)",
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Whether code that comes with a base may run."""
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the base")


def read_device(args: argparse.Namespace, configured: str | None = None) -> torch.device:
    """The device that the arguments ask for, printed once on stderr; where they are silent, what a run's configuration
    says, or else the accelerator, if any."""
    from pairalign.runtime import describe_device, find_device

    if args.device is None and configured is not None:
        device = find_device(configured, "train.accelerator")
    else:
        device = find_device(args.device or "auto", "--device")
    if configured is None or _first_process():
        notice(f"device: {describe_device(device)}")
    return device


def _first_process() -> bool:
    from pairalign.processes.launch import find_environment

    here, _ = find_environment()
    return not (here.global_rank() or here.local_rank() or here.node_rank())


def read_loading(args: argparse.Namespace) -> Any:
    """How the base is to be loaded, a `Loading`."""
    from pairalign.sensors.processor import Loading

    return Loading(
        attn_implementation=args.attn_implementation,
        revision=args.revision,
        trust_remote_code=args.trust_remote_code,
        load_in=args.load_in,
    )


def with_device(config: Any, args: argparse.Namespace) -> Any:
    """A run's configuration, computing where the arguments say."""
    from dataclasses import replace

    if args.device is None:
        return config
    return replace(config, train=replace(config.train, accelerator=args.device))
