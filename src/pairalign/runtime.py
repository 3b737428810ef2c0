"""Where a run computes: its device, its process among how many. Asked once at the start and handed on.

Where it bites: nobody else asks torch or the environment; a step that works it out for itself is a fault.
"""

from __future__ import annotations

import os

import torch

from pairalign.core.errors import ConfigError


def find_device(asked: str = "auto") -> torch.device:
    """The device that a name asks for: "auto" (the accelerator, if any), "cpu", "cuda", "cuda:1", "gpu", "mps".

    Raises:
        ConfigError: there is no such device here, or the name is none.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if asked == "auto":
        return accelerator or torch.device("cpu")
    name = asked.replace("gpu", "cuda", 1) if asked.startswith("gpu") else asked
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={asked!r}: give auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cpu":
        return device
    if accelerator is None or accelerator.type != device.type:
        there = "cpu alone" if accelerator is None else f"cpu and {accelerator.type}"
        raise ConfigError(f"device={asked!r} is not on this machine, which has {there}: give auto or cpu.")
    count = torch.accelerator.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"device={asked!r}: this machine has {count} of them, numbered from 0.")
    return device


def launched() -> tuple[int, int]:
    """Return rank and number of processes that torchrun started, known before torch.distributed is; (0, 1) without."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
