"""A finished base in WORK/base: put together, its projector trained, each step kept where it lies.

Note:
    What is finished is not made again, whatever the arguments say now: a new folder makes a new base.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pairalign.files import replacing, write_json
from real.assemble import PIXELS, assemble
from real.pictures import find_pictures, of_split
from real.projector import features, train


def build_base(language: Path, vision: Path, pictures: Path, work: Path, steps: int) -> Path:
    """The folder of the finished base."""
    out = work / "base"
    if out.exists():
        return out
    from transformers import AutoModelForImageTextToText, AutoProcessor

    untrained = assemble(language, vision, work)
    model = AutoModelForImageTextToText.from_pretrained(untrained, dtype=torch.float32).eval().requires_grad_(False)
    processor = AutoProcessor.from_pretrained(untrained)
    shown = of_split(find_pictures(pictures), "train")
    found = features(model, processor, pictures, shown, work / "features.safetensors")
    train(model, processor, found, shown, steps, work / "projector.pt")
    with replacing(out) as partial:
        partial.mkdir()
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
    write_json(work / "base.json", {"projector_steps": steps, "pictures": len(shown), "pixels": PIXELS})
    return out
