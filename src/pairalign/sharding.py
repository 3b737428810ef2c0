"""Weights that processes hold in parts, as FSDP2 shares them out: read whole, written whole.

Note:
    Reading one is done by all processes together, so that every one has to ask for the same tensors in the same order;
    a process that asks alone waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of the parts that the processes hold of it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole `value`, if it is held as `like` is; every process gives the same value."""
    value = value.to(like.device)
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def own_part(tensor: Tensor) -> Tensor:
    """What lies in this process's memory of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def as_it_is(weight: Tensor) -> Tensor:
    """A copy of a weight, on the CPU; of one that is held in parts each process's own, where it is."""
    return weight.detach().clone() if isinstance(weight, DTensor) else weight.detach().cpu().clone()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of parameters that every process has whole by their mean over the processes.

    One that no process has a gradient of keeps none; one that only some have counts as zero at the others.
    """
    parameters = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
    if not parameters or not dist.is_initialized():
        return
    there = [float(p.grad is not None) for p in parameters]
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([torch.tensor(there, device=pieces[0].device), *(piece.flatten().float() for piece in pieces)])
    dist.all_reduce(flat)
    counts, *sums = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for parameter, count, total in zip(parameters, counts.tolist(), sums, strict=True):
        mean = (total / dist.get_world_size()).view_as(parameter).to(parameter.dtype)
        parameter.grad = mean if count else None


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their joint norm is at most `largest`, whole ones and shared ones together."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    squares = {shared: torch.zeros((), device=gradients[0].device) for shared in (False, True)}
    for gradient in gradients:
        squares[isinstance(gradient, DTensor)] += own_part(gradient).float().square().sum()
    if dist.is_initialized():
        dist.all_reduce(squares[True])
    norm = (squares[False] + squares[True]).sqrt()
    for gradient in gradients:
        own_part(gradient).mul_((largest / (norm + 1e-6)).clamp(max=1.0))
