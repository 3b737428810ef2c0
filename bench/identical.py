"""How many logits differ from the base's where no sensor stands before them, whatever the sensor's weights hold.

    python bench/identical.py                     # CPU
    python bench/identical.py --device cuda

Every family of tiny models of real classes, every structure, float32 and bfloat16: weights that act from the sensor on
are filled with noise of standard deviation 0.3, far from anything training gives. Logits are compared with those of the
same model without them, bit for bit, over prompts without a sensor (alone, and in a batch beside one that has one,
padded on either side) and over the tokens before the first sensor of prompts with one. The last column counts logits
behind the sensor, which have to differ: a comparison of nothing would show there.

Note:
    Equal shapes are compared; alone and in a batch, a prompt's logits differ by rounding in any model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from sensing import STRUCTURES, TOUCH, batch, gels, sensing, taught
from tiny_mllms import FAMILIES, Family

from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import to_device

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}


def compare(family: Family, structure: str, dtype: torch.dtype, device: torch.device) -> list[int]:
    """Logits that differ and logits that were compared: without a sensor, before one, and behind one."""
    model = taught(sensing(family), structure=structure)
    model.llm.to(dtype)
    model.to(device)
    image = family.image
    plain = [[1, *image, 5, 6, 8], [1, 7, *image, 8]]
    mixed = [[1, *image, 5, 6, *[TOUCH] * 4, 7, 8], [1, 5, 9, *image, 7], [1, *[TOUCH] * 4, 9, 8]]
    found = [0] * 6
    for rows, touches in ((plain, 0), (mixed, 2)):
        for side in ("left", "right"):
            ids, mask = batch(rows, side)
            inputs = family.inputs(ids, 2)
            inputs = {name: v.to(dtype) if v.is_floating_point() else v for name, v in inputs.items()}
            given = {"signals": {"touch": gels(touches)}} if touches else {}
            asked = to_device({"input_ids": ids, "attention_mask": mask, **inputs, **given}, device)
            differs = differing(model, asked)
            sensed = ids == TOUCH
            behind = sensed.cumsum(1).clamp(max=1).bool() & mask.bool()
            without = mask.bool() & ~sensed.any(1, keepdim=True)
            before = mask.bool() & ~behind & sensed.any(1, keepdim=True)
            for n, where in enumerate((without, before, behind)):
                found[2 * n] += int(differs[where].sum())
                found[2 * n + 1] += int(differs[where].numel())
    return found


@torch.no_grad()
def differing(model: SensorModel, asked: dict[str, Any]) -> Tensor:
    """Which logits (B, T, V) are not the base's in every bit, on the CPU."""
    on = model(**asked).logits
    with model.llm.disable_adapter():  # type: ignore[operator]
        off = model(**asked).logits
    kind = BITS[on.dtype]
    return (on.contiguous().view(kind) != off.contiguous().view(kind)).cpu()


def main() -> None:
    """Compare all and print a row for each kind of number and structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--families", nargs="+", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    args = parser.parse_args()
    device, wrong = torch.device(args.device), 0
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{len(args.families)} families on {name}, torch {torch.__version__}: {', '.join(args.families)}")
    print(f"{'':24}{'without a sensor':>22}{'before the sensor':>22}{'behind it':>22}")
    for dtype in BITS:
        for structure in STRUCTURES:
            sums = [0] * 6
            for family in args.families:
                sums = [a + b for a, b in zip(sums, compare(FAMILIES[family], structure, dtype, device), strict=True)]
            pairs = [f"{a:,} of {b:,}" for a, b in zip(sums[::2], sums[1::2], strict=True)]
            print(f"{str(dtype)[6:]:10}{structure:14}{pairs[0]:>22}{pairs[1]:>22}{pairs[2]:>22}", flush=True)
            wrong += sums[0] + sums[2] + (sums[4] == 0)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
