"""PointNet++ and DGCNN as they are against torch-geometric's PointNetConv and EdgeConv with the same weights; and
clouds of 64 to 1,024 points as a `Batch` against the same ones repeated to the largest.

    python bench/point_networks.py --out point_networks.json

Both arms get the same graph of neighbours, so that what differs is how messages are made and reduced: ours applies the
first layer per point and gathers (B, N, k, C); theirs makes a message for each edge and scatters. A step is forward
and backward of the whole network in training mode, on the CPU, the arms in turn in one process, in seconds of its
processors; the outputs are compared first.

Note:
    With few threads the ratio leans on how fast scatter is, which a GPU may see otherwise.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv, PointNetConv
from tqdm import tqdm

from pairalign.core.registry import create_encoder
from pairalign_pointcloud.dgcnn import EdgeConvolution
from pairalign_pointcloud.pointnet2 import SetAbstraction
from pairalign_pointcloud.sampling import nearest_neighbours

SIZES = {"pointnet2": [(32, 512), (32, 1024)], "dgcnn": [(32, 256), (16, 512)]}


def edges_of(index: Tensor, points: int) -> Tensor:
    """Neighbours (B, M, k) of B clouds of N points as edges (2, B M k) from points to centres."""
    batch, centres, k = index.shape
    source = index + points * torch.arange(batch, device=index.device)[:, None, None]
    target = torch.arange(batch * centres, device=index.device).repeat_interleave(k)
    return torch.stack([source.flatten(), target])


class MessageAbstraction(nn.Module):
    """A `SetAbstraction` by PointNetConv: x_j holds position and features, W [x_j; p_j − p_i] is made for each edge."""

    def __init__(self, block: SetAbstraction) -> None:
        super().__init__()
        own, centre = block.point.weight, block.centre.weight
        first = nn.Linear(own.shape[1] + 3, own.shape[0], bias=False)
        with torch.no_grad():
            first.weight.copy_(torch.cat([own[:, :3] - centre, own[:, 3:], centre], 1))
        local = nn.Sequential(first, copy.deepcopy(block.norm), nn.ReLU(), copy.deepcopy(block.mlp))
        self.conv = PointNetConv(None, add_self_loops=False)
        self.conv.local_nn = local  # given to the constructor, its weights would be drawn anew
        self.centres, self.k = block.centres, block.k

    def forward(self, positions: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """As `SetAbstraction`."""
        centres = positions[:, : self.centres]
        index = nearest_neighbours(centres, positions, min(self.k, positions.shape[1]))
        x = torch.cat([positions, features], -1).flatten(0, 1)
        places = positions.flatten(0, 1), centres.flatten(0, 1)
        hidden = self.conv((x, None), places, edges_of(index, positions.shape[1]))
        return centres, hidden.unflatten(0, centres.shape[:2])


class MessageConvolution(nn.Module):
    """An `EdgeConvolution` by EdgeConv: W [x_i; x_j − x_i] is made for each edge."""

    def __init__(self, block: EdgeConvolution) -> None:
        super().__init__()
        here, there = block.here, block.there
        both = nn.Linear(2 * here.in_features, here.out_features)
        with torch.no_grad():
            both.weight.copy_(torch.cat([here.weight + there.weight, there.weight], 1))
            both.bias.copy_(here.bias)
        self.conv = EdgeConv(nn.Identity())
        self.conv.nn = both
        self.norm = copy.deepcopy(block.norm)

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        """As `EdgeConvolution`."""
        hidden = self.conv(features.flatten(0, 1), edges_of(index, features.shape[1]))
        return torch.relu(self.norm(hidden)).unflatten(0, features.shape[:2])


def by_messages(network: nn.Module) -> nn.Module:
    """A copy of one of the two networks with the same weights, by message passing."""
    made: Any = copy.deepcopy(network)
    if hasattr(made, "levels"):
        made.levels = nn.ModuleList(MessageConvolution(level) for level in made.levels)
    else:
        made.first, made.second = MessageAbstraction(made.first), MessageAbstraction(made.second)
    return made


def step(network: nn.Module, batch: Any) -> Callable[[], None]:
    """One forward and backward pass."""

    def run() -> None:
        network.zero_grad(set_to_none=True)
        features = network(batch)
        (features.pooled.square().mean() + features.tokens.square().mean()).backward()

    return run


def measure(name: str, batch: int, points: int, repeats: int) -> dict[str, Any]:
    """Seconds a step of both arms, run in turn, and the largest relative difference of their outputs."""
    torch.manual_seed(0)
    ours = create_encoder(name, points=points)
    theirs = by_messages(ours)
    clouds = torch.randn(batch, points, 3)
    with torch.no_grad():
        one, other = ours.eval()(clouds).pooled, theirs.eval()(clouds).pooled
    arms = {"ours": step(ours.train(), clouds), "messages": step(theirs.train(), clouds)}
    difference = float((one - other).abs().max() / one.abs().max())
    seconds = in_turn(arms, repeats, f"{name} {batch} x {points}")
    return {"network": name, "batch": batch, "points": points, "difference": difference, "seconds": seconds}


def measure_unequal(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Seconds a step of clouds whose sizes are spread evenly over 64 to 1,024, as they are and repeated to 1,024."""
    torch.manual_seed(0)
    network = create_encoder(name, points=None)
    clouds = [torch.randn(int(size), 3) for size in torch.linspace(64, 1024, batch)]
    padded = torch.stack([cloud[torch.arange(1024) % len(cloud)] for cloud in clouds])
    arms = {"ours": step(network.train(), network.collate(clouds)), "padded": step(network, padded)}
    seconds = in_turn(arms, repeats, f"{name} {batch} unequal")
    return {"network": name, "batch": batch, "points": 0, "difference": 0.0, "seconds": seconds}


def in_turn(arms: dict[str, Callable[[], None]], repeats: int, what: str) -> dict[str, list[float]]:
    """Seconds of each arm, once to warm up and then `repeats` times, in turn."""
    for run in arms.values():
        run()
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in tqdm(range(repeats), desc=what):
        for arm, run in arms.items():
            start = time.process_time()
            run()
            seconds[arm].append(time.process_time() - start)
    return seconds


def main() -> None:
    """Measure every network and size, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records = [measure(name, *size, args.repeats) for name, sizes in SIZES.items() for size in sizes]
    records += [measure_unequal(name, 16, args.repeats) for name in SIZES]
    for record in records:
        (_, ours), (other, theirs) = record["seconds"].items()
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        size = f"of {record['points']:4} points" if record["points"] else "of 64 to 1,024"
        print(
            f"{record['network']:9} {record['batch']} clouds {size}: ours {spread(ours)} s, "
            f"{other} {spread(theirs)} s, {other} / ours {spread(ratios)}, outputs differ by {record['difference']:.1e}"
        )
    if args.out:
        partial = args.out.with_suffix(".partial")
        partial.write_text(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, "records": records}))
        partial.replace(args.out)


def spread(values: list[float]) -> str:
    """Median with the lowest and highest."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


if __name__ == "__main__":
    main()
